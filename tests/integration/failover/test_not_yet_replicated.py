"""May somebody be told of what only the primary has? Not even when it came back from a crash and shows it.

A COMMIT that waits for the standby is invisible to others, until the primary is restarted: then it is
there for all to read, and still not on the standby. A replayed answer must not show it.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from paidonce.chaos import tables, witnesses
from paidonce.chaos.checkers import events
from paidonce.chaos.drain import drain
from paidonce.chaos.facts import Facts
from paidonce.chaos.outages import end
from paidonce.devstack.postgres import restart_postgres
from paidonce.devstack.postgres_standby import Pair
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.failover, pytest.mark.timeout(300)]

KEY = "paid-while-the-standby-was-away"
#: Seconds after which a client that gets no answer goes away: a replay takes some milliseconds.
ANSWER_S = 4.0

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(standby=True) as started:
        yield started


def pay(stack: Stack) -> httpx.Response | None:
    """Send the one payment; None when no answer came."""
    headers = {"Authorization": f"Bearer {stack.token()}", "Idempotency-Key": KEY}
    body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}
    try:
        return httpx.post(
            stack.addresses.api + "/v1/payments", json=body, headers=headers, timeout=ANSWER_S, trust_env=False
        )
    except httpx.TransportError:
        return None


def waits(pair: Pair) -> bool:
    with tables.connect(pair.primary_dsn) as connection:
        found = connection.execute(WAITING).fetchone()
    return found is not None and found[0] > 0


def visible(dsn: str) -> int:
    with tables.connect(dsn) as connection:
        return len(tables.tables(connection)["payments"])


def test_a_replay_shows_nothing_that_a_promotion_would_lose(stack: Stack) -> None:
    pair = stack.servers.pair
    assert pair is not None
    end(pair.standby, signal.SIGINT)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(pay, stack)
        until(lambda: waits(pair), within_s=30, what="a COMMIT that waits for the standby")
        answer = first.result()
    assert answer is None or answer.status_code == 503
    end(pair.primary, signal.SIGQUIT)
    restart_postgres(stack.run, pair.primary_dsn, pair.primary)
    # The primary shows it to whoever only reads, and the standby has never heard of it.
    assert visible(pair.primary_dsn) == 1
    for _ in range(3):
        answer = pay(stack)
        assert answer is None or answer.status_code in {409, 503}
    end(pair.primary, signal.SIGKILL)
    restart_postgres(stack.run, pair.standby_dsn, pair.standby)
    pair.promote()
    assert visible(pair.standby_dsn) == 0
    stack.wait_ready()
    until(lambda: _paid(stack), within_s=30, what="the payment to be accepted")
    assert visible(pair.standby_dsn) == 1
    _is_as_if_it_had_never_been(stack)


def _paid(stack: Stack) -> bool:
    answer = pay(stack)
    return answer is not None and answer.status_code == 201


def _is_as_if_it_had_never_been(stack: Stack) -> None:
    assert drain(stack.addresses.dsn, lambda _: None, within_s=60).stuck == {}
    with tables.connect(stack.addresses.dsn) as connection:
        facts = Facts(**tables.tables(connection), topic=witnesses.topic(stack.addresses.kafka, stack.settings.topic))
    assert [row.status for row in facts.payments] == ["captured"]
    assert events.published_once(facts) == (len(facts.events), [])
    assert {stack.restarts(name) for name in stack.pids()} == {0}
