import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, murmur2
from confluent_kafka import KafkaException as LibrdkafkaError
from kafka.errors import for_code
from kafka.partitioner.default import DefaultPartitioner

from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import broker_producer, broker_producer_librdkafka
from paidonce.workers.broker import BrokerAwayError, batch_bytes, talking
from paidonce.workers.broker_librdkafka_log import Log
from paidonce.workers.broker_marks import Mark
from paidonce.workers.broker_producer import AbortedError, Publisher, TooLargeError
from paidonce.workers.murmur2 import hashes

#: What Kafka may answer, by its number in the protocol, and what it becomes with either client.
ANSWERS = {
    KafkaError.BROKER_NOT_AVAILABLE: BrokerAwayError,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ConfigurationError,
    KafkaError.CONCURRENT_TRANSACTIONS: BrokerAwayError,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: BrokerAwayError,
    KafkaError.COORDINATOR_NOT_AVAILABLE: BrokerAwayError,
    KafkaError.GROUP_AUTHORIZATION_FAILED: ConfigurationError,
    KafkaError.INVALID_PRODUCER_EPOCH: BrokerAwayError,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: ConfigurationError,
    KafkaError.INVALID_TXN_STATE: BrokerAwayError,
    KafkaError.NOT_ENOUGH_REPLICAS: BrokerAwayError,
    KafkaError.NOT_LEADER_FOR_PARTITION: BrokerAwayError,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER: BrokerAwayError,
    KafkaError.PRODUCER_FENCED: BrokerAwayError,
    KafkaError.REQUEST_TIMED_OUT: BrokerAwayError,
    KafkaError.SASL_AUTHENTICATION_FAILED: ConfigurationError,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ConfigurationError,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ConfigurationError,
    KafkaError.UNKNOWN_TOPIC_OR_PART: BrokerAwayError,
    KafkaError.UNSUPPORTED_VERSION: ConfigurationError,
}


@pytest.mark.parametrize(("code", "expected"), ANSWERS.items())
def test_an_answer_is_the_same_error_with_either_client(code: int, expected: type[Exception]) -> None:
    with pytest.raises(expected), talking("do it"):
        raise for_code(code)
    with pytest.raises(expected), broker_producer_librdkafka.talking("do it"):
        raise LibrdkafkaError(KafkaError(code))


def test_either_client_would_choose_our_partition() -> None:
    keys = [str(new_id()).encode() for _ in range(200)] + [b"", b"k", b"\xff" * 37]
    partitions = [(hash_ & 0x7FFFFFFF) % 6 for hash_ in hashes(keys)]
    six = dict.fromkeys(("partitions_for_topic", "available_partitions_for_topic"), lambda _: set(range(6)))
    default, cluster = DefaultPartitioner(), SimpleNamespace(topics=lambda: {"payments"}, **six)
    assert partitions == [default.partition("payments", key, key, b"", b"", cluster) for key in keys]
    assert partitions == [murmur2(key, 6) for key in keys]


def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "paidonce.workers.broker_producer_librdkafka", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'paidonce\[librdkafka\]'"):
        Publisher(Settings(kafka_client="librdkafka"), 0)


def test_a_batch_is_never_larger_than_a_message_may_be() -> None:
    assert batch_bytes(Settings(message_bytes_max=50_000)) == 50_000
    assert batch_bytes(Settings(message_bytes_max=1_000_000)) == 131_072


@pytest.mark.parametrize(
    ("lines", "once"),
    [
        ([("ENDTXN", "EndTxn returned NO_ERROR in state CommittingTransaction")], True),
        ([("TXNABORT", "No partitions registered: not sending EndTxn")], True),
        ([("ENDTXN", "EndTxn returned _TRANSPORT in state"), ("ENDTXN", "EndTxn returned NO_ERROR in state")], False),
        ([("ENDTXN", "EndTxn returned NO_ERROR in state")] * 2, False),
        ([("ENDTXN", "EndTxn returned _TIMED_OUT in state CommittingTransaction")], False),
        ([("TXNAPI", "Transactional API called: commit_transaction")], False),
    ],
    ids=["once", "nothing to end", "again after a lost connection", "twice", "without an answer", "nobody knows"],
)
def test_only_one_good_answer_to_one_endtxn_leaves_a_producer_unworn(lines: list[tuple[str, str]], once: bool) -> None:
    log = Log()
    for facility, line in lines:
        log.log(10, "%s [%s] %s", facility, "name", f"[thrd:main]: {line}")
    assert log.one_end is once


class Scripted:
    """A client whose calls go as a test says."""

    def __init__(self, *, worn: bool = False, **errors: Exception) -> None:
        self.worn, self.calls, self._errors = worn, [], errors

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*_: object) -> None:
            self.calls.append(name)
            if name in self._errors:
                raise self._errors[name]

        return call


AWAY, LARGE, WRONG = BrokerAwayError("away"), TooLargeError("large"), ConfigurationError("wrong")


@pytest.mark.parametrize(
    ("script", "calls", "expected"),
    [
        ({}, "send add commit", None),
        ({"send": AWAY}, "send abort", AbortedError),
        ({"add": AWAY}, "send add abort", AbortedError),
        ({"send": LARGE}, "send abort", TooLargeError),
        ({"add": AWAY, "abort": AWAY}, "send add abort", BrokerAwayError),
        ({"send": LARGE, "abort": AWAY}, "send abort", TooLargeError),
        ({"send": AWAY, "worn": True}, "send abort", BrokerAwayError),
        ({"send": LARGE, "worn": True}, "send abort", TooLargeError),
        ({"send": WRONG}, "send abort", ConfigurationError),
        ({"add": WRONG, "abort": AWAY}, "send add abort", ConfigurationError),
        ({"commit": AWAY}, "send add commit", BrokerAwayError),
    ],
)
def test_a_window_ends_as_its_transaction_does(
    script: dict[str, Any], calls: str, expected: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Scripted(**script)
    monkeypatch.setattr(broker_producer, "connect", lambda *_: client)
    publisher = Publisher(Settings(), 0)
    caught: Exception | None = None
    try:
        publisher.publish([], Mark(1, new_id()))
    except Exception as error:  # noqa: BLE001  its very type is looked at
        caught = error
    assert type(caught) is (expected or type(None))
    assert client.calls == calls.split()
