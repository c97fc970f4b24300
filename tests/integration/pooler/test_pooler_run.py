"""Is every promise kept behind PgBouncer, when PostgreSQL crashes, sessions are cut off and processes are killed?"""

from pathlib import Path

import pytest

from paidonce.chaos import plan
from paidonce.chaos.command import sized
from paidonce.chaos.conduct import conduct
from paidonce.chaos.report import report
from paidonce.chaos.run import nobody

PAYMENTS = 200
PLAN = sized(plan.load("pooler"), payments=PAYMENTS)


@pytest.mark.pgbouncer
@pytest.mark.timeout(400)
def test_every_promise_is_kept_behind_a_pooler(tmp_path: Path) -> None:
    judged = report(conduct(PLAN, tmp_path, nobody(), seed=3))
    assert [fault for fault in judged.figures["tried"]["faults"] if not fault["fired"]] == []
    assert {finding.checker.name: finding.violations[:3] for finding in judged.findings if finding.violations} == {}
    assert (judged.verdict, list(judged.reasons)) == ("valid", [])
    assert len(judged.result.facts.payments) == PAYMENTS
    assert "connection" in (tmp_path / "logs/pgbouncer.log").read_text(), "they did go through it"
