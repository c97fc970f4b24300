"""What either client must do with a window on a real Kafka: the same bytes, the same order, the same errors."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from paidonce.workers import broker_producer_librdkafka
from paidonce.workers.broker import REQUEST_BYTES_MAX, BrokerAwayError
from paidonce.workers.broker_marks import Mark
from paidonce.workers.broker_producer import AbortedError, Publisher, TooLargeError

Contract = Any


def test_records_arrive_byte_for_byte(contract: Contract) -> None:
    sent = [
        contract.record(b"{}", 0, key=b"key", headers=[("a", b"1"), ("b", b""), ("a", b"2"), ("ce_time", b"\x00\xff")]),
        contract.record(b"", 3, key=b"", headers=[("é", "é".encode())]),
        contract.record(bytes(range(256)), 3, key=b"\x00\xff"),
        contract.record(os.urandom(1_000_000), 5, key=os.urandom(36), headers=[(str(n), b"v" * n) for n in range(30)]),
    ]
    contract.publisher().publish(sent, contract.mark(1))
    found = contract.read()
    assert [(one.partition, one.key, one.value, list(one.headers)) for one in found] == [
        (one.partition, one.key, one.value, one.headers) for one in sent
    ]


def test_windows_keep_their_order_within_a_partition(contract: Contract) -> None:
    publisher, size = contract.publisher(), contract.settings.relay_window_events
    for number, count in enumerate((size + 1, 1, size), 1):
        records = [contract.record(b"%d.%d" % (number, one), one % 6) for one in range(count)]
        publisher.publish(records, contract.mark(number))
        assert not publisher.worn
    found = [(one.partition, *map(int, one.value.split(b"."))) for one in contract.read()]
    assert len(found) == 2 * size + 2
    assert found == sorted(found)


def test_a_mark_is_what_was_published_last(contract: Contract) -> None:
    publisher = contract.publisher()
    assert contract.read_mark() is None
    for number in (1, 2):
        mark = contract.mark(number)
        publisher.publish([contract.record(b"%d" % number)], mark)
        assert contract.read_mark() == mark


def test_the_number_comes_when_every_event_is_acknowledged(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, there, whole = [b"%d" % one for one in range(3_000)], [], Publisher._add

    def look_and_add(self: Publisher, mark: Mark) -> None:
        there.extend(contract.values("read_uncommitted"))
        whole(self, mark)

    monkeypatch.setattr(Publisher, "_add", look_and_add)
    contract.publisher().publish([contract.record(value) for value in sent], contract.mark(1))
    assert there == sent


def test_a_zombie_can_neither_publish_nor_move_the_mark(contract: Contract) -> None:
    zombie = contract.publisher()
    zombie.publish([contract.record(b"its last")], contract.mark(1))
    owner = contract.publisher()
    with pytest.raises(BrokerAwayError) as caught:
        zombie.publish([contract.record(b"from the zombie")], contract.mark(9))
    assert not isinstance(caught.value, AbortedError), "it must not try that again"
    mark = contract.mark(2)
    owner.publish([contract.record(b"from the owner")], mark)
    assert not owner.worn
    assert contract.values() == [b"its last", b"from the owner"]
    assert contract.read_mark() == mark


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_048_588, REQUEST_BYTES_MAX + 1], ids=["for the topic", "for a request"])
def test_what_is_too_large_stops_its_window_only(contract: Contract, size: int) -> None:
    publisher = contract.publisher()
    records = [contract.record(value) for value in (b"before", b"x" * size, *[b"after" * 80] * 5_000)]
    with pytest.raises(TooLargeError):
        publisher.publish(records, contract.mark(1))
    after = contract.publisher()  # its fence ends what could not be aborted
    assert contract.values() == []
    assert contract.read_mark() is None
    after.publish([contract.record(b"after")], contract.mark(1))
    assert contract.values() == [b"after"]


def test_a_topic_that_takes_little_takes_a_window_of_many(contract: Contract) -> None:
    with closing_admin(contract) as admin:
        place = ConfigResource(ConfigResourceType.TOPIC, contract.settings.topic, {"max.message.bytes": "20000"})
        admin.alter_configs([place])
    publisher = contract.publisher(message_bytes_max=16_000)
    publisher.publish([contract.record(b"x" * 400) for _ in range(300)], contract.mark(1))
    assert contract.values() == [b"x" * 400] * 300


@pytest.mark.slow
@pytest.mark.parametrize("where", [{"topic": "nowhere"}, {"partition": 99}], ids=["topic", "partition"])
def test_what_is_not_there_aborts_the_window(hasty: Contract, where: dict[str, Any]) -> None:
    publisher = hasty.publisher()
    with pytest.raises(AbortedError):
        publisher.publish([hasty.record(b"here"), hasty.record(b"there", **where)], hasty.mark(1))
    assert hasty.read_mark() is None
    hasty.publish_as_the_relay_does(publisher, [hasty.record(b"after")], hasty.mark(1))
    assert not publisher.worn
    assert hasty.values() == [b"after"]


def test_a_full_queue_is_waited_for(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_producer_librdkafka, "QUEUE_RECORDS_MAX", 10)
    contract.publisher().publish([contract.record(b"%d" % one) for one in range(500)], contract.mark(1))
    assert contract.values() == [b"%d" % one for one in range(500)]


def test_nothing_is_left_of_closed_producers(contract: Contract) -> None:
    contract.publisher().close()  # whatever a library keeps for ever is there now
    before = threads_and_sockets()
    for number in range(3):
        publisher = contract.publisher()
        publisher.publish([contract.record(b"one")], contract.mark(number + 1))
        publisher.close()
        publisher.close()
    gc.collect()
    assert threads_and_sockets() <= before


def threads_and_sockets() -> int:
    sockets = [link for link in Path("/proc/self/fd").iterdir() if _target(link).startswith("socket:")]
    return len(list(Path("/proc/self/task").iterdir())) + len(sockets)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


@contextmanager
def closing_admin(contract: Contract) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=contract.settings.kafka)
    try:
        yield admin
    finally:
        admin.close()
