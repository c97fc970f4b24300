"""How is a running process struck at a moment that somebody else chooses? By an order, a file named after the place.

`relay.commit.after` in the folder of orders holds `17 relay.commit:after:kill`: a number, and a strike as in
chaos/strikes.py. Whoever passes that place first takes the order by renaming it, notes it in `struck.jsonl`, and is
struck. So a strike needs no restart, and nobody has to know which process passes which step.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import time, time_ns

import orjson

from paidonce.chaos.history import lines
from paidonce.chaos.strikes import Strike, carry_out

TAKEN, STRUCK = "taken", "struck.jsonl"


@dataclass(frozen=True, slots=True)
class Struck:
    """An order that was obeyed."""

    number: int
    #: seconds since 1970, right before it was struck
    at: float
    pid: int
    #: what `paidonce` was told, e.g. `consumer ledger`
    process: str


class Orders:
    """Listens at the steps of this process, and obeys."""

    def __init__(self, folder: Path, process: str) -> None:
        self._folder, self._process = str(folder), process
        self._log = (folder / STRUCK).open("ab", buffering=0)

    def before(self, step: str) -> None:
        """Obey an order for this place; raises StruckError."""
        self._pass(f"{step}.before")

    def after(self, step: str, _seconds: float, _error: BaseException | None) -> None:
        """Obey an order for this place, whether or not the step raised; raises StruckError."""
        self._pass(f"{step}.after")

    def _pass(self, place: str) -> None:
        # One look at the file system for each pass: about two microseconds.
        if os.path.exists(f"{self._folder}/{place}"):  # noqa: PTH110  a Path would cost ten times as much
            self._obey(place)

    def _obey(self, place: str) -> None:
        taken = Path(self._folder, TAKEN, f"{time_ns()}-{os.getpid()}")
        try:
            Path(self._folder, place).rename(taken)
        except FileNotFoundError:
            return  # another process, or thread, was quicker
        number, text = taken.read_text().split()
        line = {"number": int(number), "at": time(), "pid": os.getpid(), "process": self._process}
        self._log.write(orjson.dumps(line) + b"\n")
        carry_out(Strike.parse(text))


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are given, and where one sees which were obeyed."""

    folder: Path

    def open(self) -> None:
        """Make the folder; an absolute path, since processes work in folders of their own."""
        (self.folder / TAKEN).mkdir(parents=True, exist_ok=True)

    def give(self, number: int, strike: Strike) -> None:
        """Order a strike under a number that was never given before."""
        draft = self.folder / TAKEN / f"draft-{number}"
        draft.write_text(f"{number} {strike.text}")
        draft.rename(self._place(strike))

    def is_ordered(self, strike: Strike) -> bool:
        """Tell whether an order for its place waits."""
        return self._place(strike).exists()

    def take_back(self, strike: Strike) -> bool:
        """Take an order back; False when somebody has already obeyed it."""
        try:
            self._place(strike).unlink()
        except FileNotFoundError:
            return False
        return True

    def struck(self, numbers: Collection[int]) -> dict[int, Struck]:
        """Return those of these numbers that were obeyed."""
        found = (Struck(**line) for line in lines(self.folder / STRUCK))
        return {one.number: one for one in found if one.number in numbers}

    def _place(self, strike: Strike) -> Path:
        return self.folder / f"{strike.step}.{strike.when}"
