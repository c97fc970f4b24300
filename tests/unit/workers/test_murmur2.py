import random

import pytest
from kafka.partitioner.default import murmur2

from paidonce.app.clock import new_id
from paidonce.workers.murmur2 import hashes

WORD = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "hash_"),
    # From Apache Kafka's own UtilsTest.testMurmur2.
    [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)],
)
def test_a_hash_is_javas(key: str, hash_: int) -> None:
    assert hashes([key.encode()]) == [hash_ & WORD]


def test_no_keys_have_no_hashes() -> None:
    assert hashes([]) == []


def test_one_window_of_ids_hashes_as_the_client_would() -> None:
    keys = [str(new_id()).encode() for _ in range(2_001)]
    assert hashes(keys) == [murmur2(key) & WORD for key in keys]


def test_keys_of_any_length_and_bytes_hash_as_the_client_would() -> None:
    dice = random.Random(4)
    keys = [dice.randbytes(dice.randrange(70)) for _ in range(3_000)] + [b"\xff" * n for n in range(40)]
    assert hashes(keys) == [murmur2(key) & WORD for key in keys]
