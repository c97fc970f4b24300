"""Is anybody charged twice when each process is killed under load? The provider's journal says, by payment."""

import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from paidonce.chaos import command, plan
from paidonce.chaos.command import sized
from paidonce.chaos.conduct import conduct
from paidonce.chaos.report import Report, report
from paidonce.chaos.run import nobody

PAYMENTS = 100
DEMO = sized(plan.load("demo"), payments=PAYMENTS)
#: Each process logs in to PostgreSQL with its own role's rights, and must not miss any (docs/roles.md).
PLAN = DEMO.model_copy(update={"ground": DEMO.ground.model_copy(update={"roles": True})})
TARGETS = [target for faults in PLAN.faults for target in faults.targets]

#: The first test waits for the run, which takes longer than others where the machine is busy.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def killed(evidence: Path) -> Report:
    """One run in which every process is killed."""
    return report(conduct(PLAN, evidence, nobody(), seed=3))


def test_every_process_was_killed_under_the_load_and_came_back(killed: Report) -> None:
    kills = killed.figures["tried"]["faults"]
    assert Counter(kill["target"] for kill in kills) == Counter(TARGETS)
    assert [kill for kill in kills if not kill["fired"] or kill["back_after_s"] is None] == []
    assert sum(kill["requests_under_way"] for kill in kills) > 0


def test_no_payment_was_captured_twice_whatever_the_key(killed: Report) -> None:
    captures = Counter(charge.reference for charge in killed.result.facts.charges if charge.status == "captured")
    assert len(captures) >= PAYMENTS // 2
    assert {payment: count for payment, count in captures.items() if count > 1} == {}


def test_every_promise_was_kept(killed: Report) -> None:
    broken = {finding.checker.name: finding.violations[:3] for finding in killed.findings if finding.violations}
    assert broken == {}
    assert (killed.verdict, list(killed.reasons)) == ("valid", [])
    assert len(killed.result.facts.payments) == PAYMENTS


def test_the_evidence_is_judged_alike_without_the_stack(killed: Report, evidence: Path) -> None:
    assert command.check(evidence) == 0
    with sqlite3.connect(evidence / "provider.sqlite") as journal:
        row = list(journal.execute("SELECT * FROM charges WHERE status = 'captured' LIMIT 1").fetchone())
        row[journal.execute("SELECT cid FROM pragma_table_info('charges') WHERE name = 'id'").fetchone()[0]] = "ch_more"
        journal.execute(f"INSERT INTO charges VALUES ({', '.join('?' * len(row))})", row)
    journal.close()
    assert command.check(evidence) == 1


def test_clients_retried_and_duplicates_were_absorbed(killed: Report) -> None:
    tried, found = killed.figures["tried"], killed.figures["found"]
    assert tried["at_once_most"] >= 10
    assert sum(tried["unanswered"].values()) > 0
    assert found["replays"] > 0
    assert found["provider_calls_without_new_object"] > 0
