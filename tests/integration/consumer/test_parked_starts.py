"""Of a message that waits only those starts count that never came back: no disturbance or restart condemns it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import parked
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outcomes import Done
from paidonce.app.settings import Settings
from paidonce.workers.consumer_brake import Brake
from paidonce.workers.consumer_parked import ParkedWork

NAME, TYPE = "test", "payment.captured"
ALONE_STARTS = 2
DEADLOCK = text("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$")


class KilledHere(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


@dataclass
class Bench:
    """Sessions that work off one message, whose handler does what `then` says."""

    bind: Engine
    then: Callable[..., object] = lambda tx: None
    done: list[str] = field(default_factory=list)

    def handler(self, tx, message):
        self.then(tx)
        self.done.append(message.message_id)
        return Done()

    def session(self) -> ParkedWork:
        return ParkedWork(
            self.bind, each(NAME, {TYPE: self.handler}), new_id(), ALONE_STARTS, Brake(100, 0.5), lambda tally: None
        )

    def attempt(self, session: ParkedWork, then: Callable[..., object], error: type[BaseException]) -> None:
        self.then, session.look_at = then, 0.0
        with pytest.raises(error):
            session.run_once()

    def crash(self) -> None:
        self.attempt(self.session(), killed, KilledHere)

    def letters(self) -> list[str]:
        with self.bind.connect() as tx:
            return list(tx.scalars(text("SELECT reason FROM dead_letters")))

    def counted(self) -> int:
        with self.bind.connect() as tx:
            return tx.scalar(text("SELECT coalesce(sum(alone_starts), 0) FROM starts WHERE topic = '(parked)'"))


@pytest.fixture
def bench(database: str) -> Iterator[Bench]:
    bind = db.engine(Settings(dsn=database), lock_timeout_ms=50)
    message_id = str(new_id())
    headers = [["message-id", message_id], ["ce_type", TYPE]]
    envelope = {"topic": "t", "partition": 0, "offset": 1, "timestamp": 1, "key": "k", "headers": headers}
    with db.begin(bind) as tx:
        waits = {"message_id": message_id, "key": "k", "envelope": envelope, "value": b"{}"}
        parked.park(tx, consumer=NAME, **waits, reason="later", delay=timedelta(), attempts=1)
    yield Bench(bind)
    bind.dispose()


def disturbed(tx) -> None:
    tx.execute(DEADLOCK)


def cut_off(tx) -> None:
    tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def killed(_tx) -> None:
    raise KilledHere


@pytest.mark.parametrize("trouble", [disturbed, cut_off])
def test_disturbances_and_orderly_restarts_condemn_nobody(bench: Bench, trouble) -> None:
    for _ in range(2 * ALONE_STARTS):
        session = bench.session()
        for _ in range(2):
            bench.attempt(session, trouble, Exception)
        session.close()
    bench.then = lambda tx: None
    assert bench.session().run_once() == 1
    assert (len(bench.done), bench.letters(), bench.counted()) == (1, [], 0)


def test_a_process_that_is_killed_after_its_disturbance_killed_nobody(bench: Bench) -> None:
    """While it backs off no message runs in it."""
    for _ in range(2 * ALONE_STARTS):
        bench.attempt(bench.session(), disturbed, Exception)
    assert (bench.letters(), bench.counted()) == ([], 0)


def test_crashes_are_counted_through_whatever_comes_between(bench: Bench) -> None:
    bench.crash()
    session = bench.session()
    bench.attempt(session, disturbed, Exception)
    session.close()
    bench.crash()
    bench.then = killed
    assert bench.session().run_once() == 1
    assert bench.letters() == ["its process died each of the 2 times that it ran alone"]
    assert bench.done == []


def test_what_the_database_would_not_take_back_at_once_is_taken_back_at_the_close(bench: Bench) -> None:
    holder = bench.bind.connect()

    def unreachable(tx) -> None:
        holder.execute(text("LOCK TABLE starts IN ACCESS EXCLUSIVE MODE"))
        disturbed(tx)

    session = bench.session()
    bench.attempt(session, unreachable, Exception)
    holder.rollback()
    holder.close()
    assert bench.counted() == 1
    session.close()
    assert bench.counted() == 0


def test_an_error_that_ends_the_process_counts(bench: Bench) -> None:
    """What ends the process by an error of ours would end the next one too."""
    session = bench.session()
    with bench.bind.begin() as tx:
        tx.execute(text("ALTER TABLE dead_letters RENAME TO away"))
    bench.then = lambda tx: None
    session.look_at = 0.0
    with pytest.raises(Exception, match="dead_letters"):
        session.run_once()
    session.close()
    assert bench.counted() == 1


def test_two_members_never_start_the_same_message_at_once(bench: Bench) -> None:
    """The second finds it taken: it neither waits nor counts."""
    other, found = bench.session(), []

    def meanwhile(_tx) -> None:
        found.append((other.run_once(), bench.counted()))

    bench.then = meanwhile
    assert bench.session().run_once() == 1
    assert found == [(0, 1)]
