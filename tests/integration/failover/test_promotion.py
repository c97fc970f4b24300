"""Is anything lost that somebody was told of, when the standby is promoted under load? Neither payments nor replays.

Once the primary is killed. Once it only stands still, as a machine that is cut off, and is fenced
(ended) after the promotion. In the end the old primary comes back as if nothing had been, and can
acknowledge nothing.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from paidonce.chaos.checkers import events
from paidonce.chaos.outages import Outage, end, everywhere, outages
from paidonce.chaos.plan import Load, Plan
from paidonce.chaos.report import Report, report
from paidonce.chaos.run import PROVIDER, execute, nobody
from paidonce.devstack.postgres import restart_postgres
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until
from paidonce.workers import doctor_checks, status

pytestmark = [pytest.mark.failover, pytest.mark.timeout(400)]

#: The drain's bound is for a busy machine: a quiet one takes some seconds.
DRAIN_S = 120.0
PAYMENTS, LOAD_S = 200, 25.0
PLAN = Plan(name="promotion", says="", load=Load(payments=PAYMENTS, seconds=LOAD_S, drain_s=DRAIN_S))


def kill_and_promote(stack: Stack) -> None:
    pair = stack.servers.pair
    assert pair is not None
    end(pair.primary, signal.SIGKILL)
    pair.promote()


def freeze_promote_and_fence(stack: Stack) -> None:
    """Whoever promotes while the primary may still live has to end it (to fence it): here, after the promotion."""
    pair = stack.servers.pair
    assert pair is not None
    everywhere(pair.primary, signal.SIGSTOP)
    pair.promote()
    everywhere(pair.primary, signal.SIGKILL)
    end(pair.primary, signal.SIGKILL)


@dataclass
class Seen:
    """How a run ended, and the stack, which still runs."""

    report: Report
    restarts: dict[str, int]
    stack: Stack


@pytest.fixture(scope="module", params=[kill_and_promote, freeze_promote_and_fence])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with Stack(replicas=2, standby=True, overrides=PROVIDER) as stack:
        made = outages(Outage("postgres", 0.4, request.param), load_s=LOAD_S)
        folder = tmp_path_factory.mktemp("promotion")
        result = execute(stack, folder, nobody(), plan=PLAN, seed=13, make_faults=made)
        yield Seen(report(result), {name: stack.restarts(name) for name in stack.pids()}, stack)


def test_nothing_acknowledged_is_lost_and_nothing_done_twice(seen: Seen) -> None:
    broken = {finding.checker.name: finding.violations[:3] for finding in seen.report.findings if finding.violations}
    assert broken == {}
    assert (seen.report.verdict, list(seen.report.reasons)) == ("valid", [])
    assert len(seen.report.result.facts.payments) == PAYMENTS


def test_every_replayed_answer_exists_after_the_promotion(seen: Seen) -> None:
    facts = seen.report.result.facts
    (fault,) = facts.faults
    assert fault.fired_at is not None
    replayed = [
        op for op in facts.operations if op.replayed and op.outcome == "ok" and (op.ended or 0) < fault.fired_at
    ]
    assert len(replayed) > 0
    known = {row.id for row in facts.payments} | {row.id for row in facts.refunds}
    assert [op.told() for op in replayed if op.document["id"] not in known] == []


def test_the_windows_go_on(seen: Seen) -> None:
    facts = seen.report.result.facts
    assert events.published_once(facts) == (len(facts.events), [])
    found = status.read(seen.stack.settings)
    assert [(shard.waiting, shard.window == shard.in_kafka, shard.window > 0) for shard in found.outbox] == [
        (0, True, True)
    ] * len(found.outbox)


def test_every_process_gets_over_it_by_itself(seen: Seen) -> None:
    assert set(seen.restarts.values()) == {0}
    assert doctor_checks.postgres(seen.stack.settings)


def test_the_old_primary_comes_back_and_can_acknowledge_nothing(seen: Seen) -> None:
    """It waits for a standby that it no longer has: whoever ends up there gets no answer, never a false one."""
    pair = seen.stack.servers.pair
    assert pair is not None
    restart_postgres(seen.stack.run, pair.primary_dsn, pair.primary)
    with (
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(pair.primary_dsn, autocommit=True) as writer,
        psycopg.connect(pair.primary_dsn, autocommit=True) as reader,
    ):
        try:
            written = thread.submit(writer.execute, "DELETE FROM leases")
            until(lambda: _waits(reader, writer.info.backend_pid), within_s=30, what="the write to wait for a standby")
            assert not written.done()
            assert reader.execute("SELECT count(*) > 0 FROM leases").fetchone() == (True,)
        finally:
            end(pair.primary, signal.SIGINT)
        with pytest.raises(psycopg.OperationalError):
            written.result(timeout=30)


def _waits(reader: psycopg.Connection[Any], pid: int) -> bool:
    found = reader.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
    return found == ("SyncRep",)
