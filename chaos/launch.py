"""How is one of our processes started so that the rig can strike it? As `paidonce` would, with listeners installed.

`python -m paidonce.chaos.launch --strike relay.commit:after:kill:3 relay`; see chaos/strikes.py for the form.
What stands behind the process's name are its own arguments.
"""

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from paidonce.app import steps
from paidonce.chaos import clock_skew, sabotage
from paidonce.chaos.orders import Orders
from paidonce.chaos.strikes import Strike, StrikeFormError, Striker


def main(argv: Sequence[str] | None = None) -> None:
    """Install what the options ask for, then run the process as the command line does."""
    options = _parser().parse_args(argv)
    for safeguard in options.sabotage:
        sabotage.take_out(safeguard)
    striker = Striker(options.strike, options.log, options.begun)
    if options.skew:
        clock_skew.install(options.skew)
        striker.note(type="skewed", ahead_s=round(clock_skew.measured_s(), 1))
    if options.strike or options.log:
        steps.listen(striker)
    if options.orders:
        steps.listen(Orders(options.orders, " ".join(options.process)))
    sys.argv = ["paidonce", *options.process]
    runpy.run_module("paidonce.cli", run_name="__main__", alter_sys=True)


def arguments(
    *,
    strikes: Sequence[str] = (),
    taken_out: Sequence[str] = (),
    skew_s: float = 0.0,
    log: Path | None = None,
    begun: Path | None = None,
    orders: Path | None = None,
) -> list[str]:
    """Return the command that starts a process with these; what `paidonce` is told comes behind it."""
    options = [part for strike in strikes for part in ("--strike", strike)]
    options += [part for safeguard in taken_out for part in ("--sabotage", safeguard)]
    options += ["--skew", str(skew_s)] if skew_s else []
    options += ["--log", str(log)] if log else []
    options += ["--begun", str(begun)] if begun else []
    options += ["--orders", str(orders)] if orders else []
    return [sys.executable, "-m", "paidonce.chaos.launch", *options]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paidonce.chaos.launch", description=__doc__)
    parser.add_argument("--strike", action="append", default=[], type=_strike, metavar="STRIKE", help="may repeat")
    parser.add_argument(
        "--sabotage",
        action="append",
        default=[],
        choices=sabotage.SAFEGUARDS,
        help="take this safeguard out; may repeat",
    )
    parser.add_argument("--skew", type=float, default=0.0, metavar="SECONDS", help="its clock is so much ahead")
    parser.add_argument("--log", type=Path, help="JSON lines: steps when first reached, and strikes")
    parser.add_argument("--begun", type=Path, help="passes count once this file is there; by default from the start")
    parser.add_argument(
        "--orders", type=Path, help="folder of strikes that are ordered while it runs (chaos/orders.py)"
    )
    parser.add_argument("process", nargs=argparse.REMAINDER, help="what `paidonce` is told, e.g. consumer ledger")
    return parser


def _strike(text: str) -> Strike:
    try:
        return Strike.parse(text)
    except StrikeFormError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    main()
