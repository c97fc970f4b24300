import pytest

from paidonce.workers.broker_producer import partition_of


@pytest.mark.parametrize(
    ("key", "hash_"),
    # From Apache Kafka's own UtilsTest.testMurmur2.
    [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)],
)
def test_partitions_are_those_of_javas_partitioner(key: str, hash_: int) -> None:
    assert partition_of(key.encode(), 6) == (hash_ & 0x7FFFFFFF) % 6
