"""What either client does when the network or the broker fails it in the middle of a window, on a broker of its own."""

import signal
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from threading import Thread
from typing import Any

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka, start_kafka
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.runs import Run
from paidonce.workers.broker import BrokerAwayError, limit_ms
from paidonce.workers.broker_producer import AbortedError, Publisher

pytestmark = pytest.mark.slow

Contract = Any

#: Kafka's number of the request that ends a transaction.
END_TXN = 26


class Cable:
    """Between clients and broker: every request passes, until one is to be lost."""

    def __init__(self, broker: int) -> None:
        self._broker = broker
        self._server = socket.create_server((LOOPBACK, 0))
        self.port = self._server.getsockname()[1]
        #: what to do with the next EndTxn: pass it on or not, before its connection breaks; None: nothing
        self.cut: str | None = None
        self.seen = 0
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection((LOOPBACK, self._broker))
                Thread(target=self._pass, args=(client, broker, self._requests), daemon=True).start()
                Thread(target=self._pass, args=(broker, client, self._bytes), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, how: Callable[..., None]) -> None:
        with source, target, suppress(OSError, EOFError):
            how(source, target)
            for end in (source, target):
                end.shutdown(socket.SHUT_RDWR)

    def _bytes(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65_536):
            target.sendall(data)

    def _requests(self, source: socket.socket, target: socket.socket) -> None:
        while True:
            head = _exactly(source, 6)
            length, kind = struct.unpack(">ih", head)
            request = head + _exactly(source, length - 2)
            cut = self.cut if kind == END_TXN else None
            self.seen += kind == END_TXN
            if cut != "before":
                target.sendall(request)
            if cut is not None:
                self.cut = None
                return


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    with closing(Cable(free_port())) as made:
        yield made


@pytest.fixture(scope="module")
def kafka(cable: Cable) -> Iterator[Kafka]:
    """A broker that calls itself by the cable's address, and asks who may do what."""
    with Run() as run:
        controller = free_port()
        made = start_kafka(
            run,
            properties={
                "listeners": f"PLAINTEXT://{LOOPBACK}:{cable._broker},CONTROLLER://{LOOPBACK}:{controller}",
                "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{cable.port},CONTROLLER://{LOOPBACK}:{controller}",
                "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "true",
            },
        )
        yield Kafka(f"{LOOPBACK}:{cable.port}", made.process)


@pytest.fixture
def hasty(contract: Contract) -> Contract:
    """With time limits of three seconds, the least."""
    contract.settings = contract.settings.model_copy(update={"relay_lease_s": 1.0})
    return contract


#: What a call to a broker that stands still comes to: only librdkafka's end by themselves.
GIVEN_UP = {"kafka-python": (BrokerAwayError, TimeoutError), "librdkafka": (BrokerAwayError,)}


def bounded(contract: Contract, function: Callable[..., object], *arguments: object) -> None:
    """Call it as the relay does: where it can be left behind, after three of Kafka's time limits."""
    outcome: Future[object] = Future()

    def run() -> None:
        try:
            outcome.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    outcome.result(3 * limit_ms(contract.settings) / 1000)


@pytest.mark.parametrize("ends", ["commit", "abort"])
def test_an_end_whose_answer_is_lost_wears_the_producer(
    contract: Contract, cable: Cable, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = contract.publisher()
    publisher.publish([contract.record(b"first")], contract.mark(1))
    assert not publisher.worn
    before, cable.cut = cable.seen, "after"
    if ends == "commit":
        publisher.publish([contract.record(b"second")], contract.mark(2))
    else:
        monkeypatch.setattr(Publisher, "_add", slow)
        with pytest.raises(BrokerAwayError) as caught:
            publisher.publish([contract.record(b"second")], contract.mark(2))
        monkeypatch.undo()
        assert not isinstance(caught.value, AbortedError), "the late abort would take part of the next window away"
    assert cable.seen - before > 1, "it was sent again"
    assert publisher.worn
    successor = contract.publisher()
    successor.publish([contract.record(b"third")], contract.mark(3))
    assert contract.values() == [b"first", *([b"second"] if ends == "commit" else []), b"third"]
    assert not successor.worn


def slow(*_: object) -> None:
    raise BrokerAwayError("slow")


@pytest.mark.parametrize("where", ["before", "after"], ids=["not arrived", "arrived"])
def test_of_an_interrupted_commit_all_or_nothing_is_there(
    hasty: Contract, client: str, kafka: Kafka, cable: Cable, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker stands still from the moment of the commit: it has got the request, or has not."""
    publisher = hasty.publisher()
    publisher.publish([hasty.record(b"first")], hasty.mark(1))
    mark, whole = hasty.mark(2), Publisher._commit

    def stop_and_commit(self: Publisher) -> None:
        stop(kafka)
        whole(self)

    monkeypatch.setattr(Publisher, "_commit", stop_and_commit)
    cable.cut = where
    try:
        with pytest.raises(GIVEN_UP[client]):
            bounded(hasty, publisher.publish, [hasty.record(b"second")], mark)
    finally:
        go_on(kafka)
    monkeypatch.undo()
    successor = hasty.publisher(relay_lease_s=30.0)
    found = hasty.read_mark()
    assert found is not None
    assert (found.number, hasty.values()) in [(1, [b"first"]), (2, [b"first", b"second"])]
    successor.publish([hasty.record(b"third")], hasty.mark(3))
    assert hasty.values()[-1] == b"third"


def test_a_broker_that_stands_still_is_given_up_in_time(hasty: Contract, client: str, kafka: Kafka) -> None:
    publisher = hasty.publisher()
    stop(kafka)
    try:
        with pytest.raises(GIVEN_UP[client]):
            bounded(hasty, publisher.publish, [hasty.record(b"never")], hasty.mark(1))
        with pytest.raises(GIVEN_UP[client]):
            bounded(hasty, hasty.publisher)
        with suppress(BrokerAwayError):
            bounded(hasty, hasty.close)
    finally:
        go_on(kafka)
    hasty.publish_anew([hasty.record(b"now")], hasty.mark(1))
    assert hasty.values() == [b"now"]


def test_a_group_without_a_coordinator_is_given_up_in_time(
    topic: str, client: str, contracts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka cannot make its topic of offsets: nobody can be asked to take a number."""
    monkeypatch.setattr(contracts, "read_mark", lambda _: None)
    with Run() as run:
        made = start_kafka(run, properties={"offsets.topic.replication.factor": "3"})
        settings = Settings(kafka=made.bootstrap, topic=topic, relay_name=f"relay-{topic}", kafka_client=client)
        hasty = contracts(settings.model_copy(update={"relay_lease_s": 1.0}))
        publisher = hasty.publisher()
        with pytest.raises(GIVEN_UP[client]):
            bounded(hasty, publisher.publish, [hasty.record(b"never")], hasty.mark(1))
        with suppress(BrokerAwayError):
            bounded(hasty, publisher.close)
        hasty.publisher().close()
        assert hasty.values() == []


@pytest.mark.parametrize(
    "what",
    [
        (ResourceType.TOPIC, "topic", ACLOperation.WRITE),
        (ResourceType.GROUP, "relay_name", ACLOperation.READ),
        (ResourceType.TRANSACTIONAL_ID, "relay_name", ACLOperation.WRITE),
    ],
    ids=["topic", "group", "transactional id"],
)
def test_what_kafka_forbids_is_a_matter_of_configuration(contract: Contract, what: tuple[Any, str, Any]) -> None:
    kind, setting, operation = what
    name = getattr(contract.settings, setting)
    if kind is ResourceType.TRANSACTIONAL_ID:
        name += "-0"
    deny(contract.settings, ResourcePattern(kind, name), operation)
    records = [contract.record(b"x" * 400) for _ in range(5_000)]
    with pytest.raises(ConfigurationError, match="Kafka refuses"):
        contract.publisher().publish(records, contract.mark(1))
    assert contract.values() == []


def deny(settings: Settings, pattern: ResourcePattern, operation: ACLOperation) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    with closing(admin):
        rights = [(ACLOperation.ALL, ACLPermissionType.ALLOW), (operation, ACLPermissionType.DENY)]
        admin.create_acls([ACL("User:ANONYMOUS", "*", one, permission, pattern) for one, permission in rights])


def stop(kafka: Kafka) -> None:
    assert kafka.process is not None
    kafka.process.send(signal.SIGSTOP)


def go_on(kafka: Kafka) -> None:
    assert kafka.process is not None
    kafka.process.send(signal.SIGCONT)
