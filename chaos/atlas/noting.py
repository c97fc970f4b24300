"""Where does an atlas say what it struck? In the log of faults, as every run of the rig does: each strike is one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from paidonce.chaos.atlas.targets import Target
from paidonce.chaos.fault_log import FaultLog
from paidonce.chaos.orders import Struck
from paidonce.chaos.schedule import Planned


def note(
    log: Path, wanted: Sequence[Target], struck: Mapping[int, Struck], failed: Mapping[int, str], *, back: bool
) -> None:
    """Note what became of the strikes of a round; `back`: everybody was seen to work again."""
    faults = FaultLog(log)
    for one in wanted:
        found = struck.get(one.number)
        target = found.process if found else one.part
        faults.planned([Planned(number=one.number, kind="strike", target=target, at_s=0.0, args={})])
        if found is None:
            faults.missed(one.number, f"{one.strike.text}: {failed.get(one.number, 'nobody passed there')}")
            continue
        over = found.at + one.strike.seconds
        faults.fired(one.number, one.strike.text, at=found.at)
        faults.healed(one.number, at=over)
        if back:
            faults.back(one.number, at=over)
