"""Does an atlas strike what it was asked for, on a real stack, and leave evidence that is judged alike?"""

from pathlib import Path

import orjson
import pytest

from paidonce.chaos.atlas import command
from paidonce.chaos.command import check

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

#: A step of each kind of occasion: customers, a restart, an operator, the second installation, another provider.
STEPS = "relay.commit,effects.settle,payments.accept,relay.fence,brake.release,repair.set_mark,stripe.find"


def test_some_steps_are_struck_and_got_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = command.run(pattern=STEPS, kinds=["kill", "exception"], seed=3, folder=tmp_path, json=None)
    last = orjson.loads(capsys.readouterr().out.splitlines()[-1])
    strikes = orjson.loads((tmp_path / "atlas.json").read_bytes())["strikes"]
    assert [one for one in strikes if one["result"] != "valid"] == []
    assert len(strikes) == 2 * 2 * len(STEPS.split(","))
    assert (status, last["coverage"], last["valid"], last["verdict"]) == (0, 1.0, len(strikes), "valid")
    assert {one["process"].split()[0] for one in strikes} >= {"api", "relay", "effects", "brake", "outbox"}
    assert "Atlas: every step struck" in (tmp_path / "report.html").read_text()
    assert check(tmp_path) == 0
