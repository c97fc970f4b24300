"""What does Kafka have to do for the relay's rarer steps? Hang for a while, or forget the end of a transaction."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError
from kafka.producer.transaction_manager import TransactionalRequestResult, TxnOffsetCommitHandler
from kafka.structs import ConsumerGroupMetadata

from paidonce.chaos.atlas.errand import ErrandError, wait
from paidonce.chaos.atlas.ground import Ground
from paidonce.workers.broker import BrokerAwayError, transactional_id
from paidonce.workers.broker_marks import Mark, Marks, place
from paidonce.workers.broker_open import OpenTransactions

#: Seconds for which the broker stands still: longer than the relay waits for its answers (workers/broker.py).
HANGS_S = 4.5
#: Without it the broker asks its coordinator whether a partition is in the transaction, and refuses what is not.
VERIFICATION = "transaction.partition.verification.enable"
#: Milliseconds for the careless producer's one request.
MARK_MS = 5_000
SHARD = 0


def hang(ground: Ground) -> None:
    """The broker stands still in mid-window: the relay gives the window up, and aborts it."""
    broker = ground.stack.servers.kafka.process
    if broker is None:
        raise ErrandError("the broker is not of this stack, and cannot be stopped")
    broker.send(signal.SIGSTOP)
    try:
        sleep(HANGS_S)
    finally:
        broker.send(signal.SIGCONT)
    sleep(HANGS_S)  # an abort that was begun needs its answer, or its own time limit


def leave_open(ground: Ground) -> None:
    """A mark is left open by a transaction that Kafka calls complete, as after a restart at the wrong moment."""
    with _unverified(ground):
        try:
            _Careless(ground).leave_mark_open()
        except (KafkaError, BrokerAwayError, AssertionError) as error:
            raise ErrandError(f"the relay was quicker: {error!r}") from error
        wait(lambda: not _open(ground), "the relay has ended the transaction that was left open")


def _open(ground: Ground) -> bool:
    settings = ground.stack.settings
    with OpenTransactions(settings) as transactions:
        return bool(transactions.find(SHARD, [settings.topic]))


@contextmanager
def _unverified(ground: Ground) -> Iterator[None]:
    admin = KafkaAdminClient(bootstrap_servers=ground.stack.addresses.kafka)
    try:
        (broker,) = [str(one["broker_id"]) for one in admin.describe_cluster()["brokers"]]
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, broker, {VERIFICATION: "false"})])
        yield
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, broker, {VERIFICATION: "true"})])
    finally:
        admin.close()


class _Careless(KafkaProducer):  # type: ignore[misc]  # the client has no types
    """A shard's producer that sends a mark without telling the coordinator: at its successor's start it stays open."""

    def __init__(self, ground: Ground) -> None:
        self._settings = ground.stack.settings
        super().__init__(
            bootstrap_servers=ground.stack.addresses.kafka,
            transactional_id=transactional_id(self._settings, SHARD),
            allow_auto_create_topics=False,
        )

    def leave_mark_open(self) -> None:
        """Send the mark that is there already, so that nothing hangs on how it ends."""
        marks = Marks(self._settings)
        try:
            mark = marks.read(SHARD)
        finally:
            marks.close()
        if mark is None:
            raise ErrandError("the shard has no mark yet")
        try:
            self._send_mark(mark)
        finally:
            self._sender.force_close()
            self.close(timeout=0)

    def _send_mark(self, mark: Mark) -> None:
        self.init_transactions()
        self.begin_transaction()
        result, manager = TransactionalRequestResult(), self._transaction_manager
        group = ConsumerGroupMetadata(group_id=self._settings.relay_name)
        offsets = {place(self._settings, SHARD): mark.offset()}
        with manager._lock:
            manager._pending_txn_offset_commits.update(offsets)
            manager._enqueue_request(TxnOffsetCommitHandler(manager, group, offsets, result))
        self._sender.wakeup()
        if not result.wait(timeout_ms=MARK_MS):
            raise ErrandError("Kafka did not take the careless mark")
