"""Does a process go on hinting, whatever happened to one hint?"""

from collections.abc import Iterator
from threading import Event

import psycopg
import pytest

from paidonce.app import steps
from paidonce.app.messaging.hint import OUTBOX, Hinter
from paidonce.chaos.strikes import StruckError

#: Seconds for a hint to come: a second of patience after a failure, and the machine's own.
BOUND_S = 20.0


class Once:
    """Raises in the first pass through a step, and counts the passes."""

    def __init__(self, step: str) -> None:
        self._step = step
        self.passes = 0
        self.struck = Event()

    def before(self, step: str) -> None:
        if step == self._step:
            self.passes += 1
            if self.passes == 1:
                self.struck.set()
                raise StruckError("nobody foresaw it")

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        pass


@pytest.fixture
def hinter(database: str) -> Iterator[Hinter]:
    made = Hinter(database)
    yield made
    made.close()


def heard(listening: psycopg.Connection) -> list[str]:
    return [hint.channel for hint in listening.notifies(timeout=BOUND_S, stop_after=1)]


def test_hints_go_on_after_what_nobody_foresaw(hinter: Hinter, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Once("hint.notify")
    monkeypatch.setattr(steps, "_listeners", (once,))
    with psycopg.connect(database, autocommit=True) as listening:
        listening.execute(f'LISTEN "{OUTBOX}"')
        hinter.hint()
        assert once.struck.wait(BOUND_S)
        hinter.hint()
        assert heard(listening) == [OUTBOX]
    assert once.passes == 2


@pytest.mark.slow
def test_hints_go_on_after_the_server_has_ended_the_session(hinter: Hinter, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as listening:
        listening.execute(f'LISTEN "{OUTBOX}"')
        hinter.hint()
        assert heard(listening) == [OUTBOX]
        ended = listening.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
        assert ended == [(True,)]
        hinter.hint()  # this one meets the dead session, and is lost without harm: whoever listens polls as well
        while not heard_within(listening, 1.0):
            hinter.hint()


def heard_within(listening: psycopg.Connection, seconds: float) -> bool:
    return any(True for _ in listening.notifies(timeout=seconds, stop_after=1))
