"""Does the rig find safeguards that are missing? Three at once here, each by its own checker; `make chaos` has all."""

from pathlib import Path

import pytest

from paidonce.chaos.command import sized
from paidonce.chaos.conduct import conduct
from paidonce.chaos.matrix import finders, smallest_evidence
from paidonce.chaos.report import report
from paidonce.chaos.run import nobody

#: They do not hide each other, and one plan finds all of them.
MISSING = ("S1", "S3", "S12")


@pytest.mark.timeout(300)
def test_three_missing_safeguards_are_found_each_by_its_own_checker(tmp_path: Path) -> None:
    found = finders()
    (plan,) = {found[safeguard][0].name: found[safeguard][0] for safeguard in MISSING}.values()
    # What is broken never comes to rest, and is not waited for long.
    load = plan.load.model_copy(update={"drain_s": 4.0})
    short = sized(plan.model_copy(update={"load": load}), payments=60, seconds=4.0)
    made = report(conduct(short, tmp_path, nobody(), seed=5, taken_out=MISSING))
    assert made.verdict == "invalid"
    for safeguard in MISSING:
        assert smallest_evidence(made.findings, found[safeguard][1]) is not None, safeguard
