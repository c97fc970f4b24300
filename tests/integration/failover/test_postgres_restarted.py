"""Does everybody come back by himself when PostgreSQL is restarted under load? And is nothing lost, or done twice?

Once in order (a fast shutdown), once not at all (SIGQUIT: its own immediate end, as a crash), once for
so long that every back-off has grown to its most.
"""

import signal
from functools import partial

import pytest

from paidonce.chaos.outages import Outage, end, outages
from paidonce.chaos.plan import Load, Plan
from paidonce.chaos.report import Report, report
from paidonce.chaos.run import PROVIDER, execute, nobody
from paidonce.devstack.postgres import restart_postgres
from paidonce.devstack.stack import Stack

pytestmark = [pytest.mark.failover, pytest.mark.timeout(400)]

#: The drain's bound is for a busy machine: a quiet one takes some seconds.
DRAIN_S = 120.0
PAYMENTS, LOAD_S = 240, 40.0
PLAN = Plan(name="postgres-restarted", says="", load=Load(payments=PAYMENTS, seconds=LOAD_S, drain_s=DRAIN_S))


def restart(stack: Stack, number: signal.Signals) -> None:
    server = stack.servers.postgres.process
    assert server is not None
    end(server, number)
    restart_postgres(stack.run, stack.addresses.dsn, server)


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[str, int]]:
    """A run, and how often each process of ours had to be started again."""
    made = outages(
        Outage("postgres, fast shutdown", 0.2, partial(restart, number=signal.SIGINT)),
        Outage("postgres, SIGQUIT", 0.6, partial(restart, number=signal.SIGQUIT)),
        load_s=LOAD_S,
    )
    with Stack(replicas=2, overrides=PROVIDER) as stack:
        folder = tmp_path_factory.mktemp("restarted")
        result = execute(stack, folder, nobody(), plan=PLAN, seed=11, make_faults=made)
        return report(result), {name: stack.restarts(name) for name in stack.pids()}


def test_every_process_reconnects_by_itself(restarted: tuple[Report, dict[str, int]]) -> None:
    found, restarts = restarted
    assert set(restarts.values()) == {0}
    assert [fault.target for fault in found.result.facts.faults] == ["postgres, fast shutdown", "postgres, SIGQUIT"]


def test_nothing_is_lost_and_nothing_done_twice(restarted: tuple[Report, dict[str, int]]) -> None:
    found, _ = restarted
    broken = {finding.checker.name: finding.violations[:3] for finding in found.findings if finding.violations}
    assert broken == {}
    assert (found.verdict, list(found.reasons)) == ("valid", [])
    assert len(found.result.facts.payments) == PAYMENTS
