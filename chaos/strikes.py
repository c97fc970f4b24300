"""What is done to one of our processes at one of its steps? `relay.commit:after:kill:3`, carried out inside it.

The grammar is `STEP:before|after:KIND[=SECONDS][:PASS]`. The kinds are `kill` (SIGKILL), `stop` (SIGSTOP for so many
seconds), `exception` and `delay`; the pass is the n-th of this process (1 by default), `*` for each, `/n` for every
n-th. The product knows nothing of it: strikes listen at its steps (docs/design.md, "Steps").
"""

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import sleep, time
from typing import Self

import orjson

from paidonce.chaos.history import lines

FORM = re.compile(
    r"(?P<step>[a-z_]+\.[a-z_]+):(?P<when>before|after):(?P<kind>kill|stop|exception|delay)"
    r"(=(?P<seconds>\d+(\.\d+)?))?(:(?P<turns>\*|/?[1-9]\d*))?"
)
#: Seconds of a stop or a delay that names none: past every lease of demo and tests (devstack/pace.py), and a moment.
SECONDS = {"stop": 6.0, "delay": 0.5}


class StruckError(Exception):
    """What the kind `exception` raises: an error that nobody foresaw."""


class StrikeFormError(ValueError):
    """A strike is not of the form that the module's docstring gives."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One strike, as it was written in `text`."""

    text: str
    step: str
    when: str
    kind: str
    seconds: float
    #: `3`: the third pass; `*`: each; `/3`: every third
    turns: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a strike; raises StrikeFormError."""
        found = FORM.fullmatch(text)
        if found is None:
            raise StrikeFormError(
                f"{text!r} is no strike: STEP:before|after:kill|stop|exception|delay[=SECONDS][:PASS]"
            )
        kind = found["kind"]
        seconds = float(found["seconds"] or SECONDS.get(kind, 0.0))
        return cls(text, found["step"], found["when"], kind, seconds, found["turns"] or "1")

    @property
    def repeats(self) -> bool:
        """Whether it strikes more than once."""
        return not self.turns.isdigit()

    def due(self, number: int) -> bool:
        """Tell whether it strikes on this pass, counted from 1."""
        if self.turns == "*":
            return True
        return number % int(self.turns[1:]) == 0 if self.repeats else number == int(self.turns)


class Striker:
    """Listens at the steps, strikes, and writes to its log what was reached and what it did, before it does it.

    A strike on one pass happens once in a log: the successor of a process that was killed is spared. Passes count once
    the file `begun` is there, where one is named.
    """

    def __init__(self, strikes: Sequence[Strike], log: Path | None = None, begun: Path | None = None) -> None:
        self._begun = begun
        self._log = None if log is None else log.open("ab", buffering=0)
        done = {line["strike"] for line in lines(log) if line["type"] == "struck"} if log else set()
        self._strikes = [strike for strike in strikes if strike.repeats or strike.text not in done]
        self._passes: Counter[tuple[str, str]] = Counter()
        self._reached: set[tuple[str, str]] = set()
        self._one = Lock()

    def before(self, step: str) -> None:
        """Strike before the step, if it is due; raises StruckError."""
        self._pass(step, "before")

    def after(self, step: str, _seconds: float, _error: BaseException | None) -> None:
        """Strike after the step, if it is due, whether or not the step raised; raises StruckError."""
        self._pass(step, "after")

    def _pass(self, step: str, when: str) -> None:
        with self._one:
            if (step, when) not in self._reached:
                self._reached.add((step, when))
                self.note(type="reached", step=step, when=when)
            if not self._counts():
                return
            self._passes[step, when] += 1
            number = self._passes[step, when]
            due = [s for s in self._strikes if (s.step, s.when) == (step, when) and s.due(number)]
            for strike in due:
                self.note(type="struck", step=step, when=when, strike=strike.text, number=number)
        for strike in due:
            carry_out(strike)

    def _counts(self) -> bool:
        if self._begun is not None and self._begun.exists():
            self._begun = None
        return self._begun is None

    def note(self, **line: object) -> None:
        """Write a line to the log, where there is one."""
        if self._log is not None:
            self._log.write(orjson.dumps({"at": time(), "pid": os.getpid(), **line}) + b"\n")


def carry_out(strike: Strike) -> None:
    """Do it to this very process, now; raises StruckError for an `exception`."""
    pid = os.getpid()
    if strike.kind == "kill":
        os.kill(pid, signal.SIGKILL)
    elif strike.kind == "stop":
        # Whoever is stopped cannot wake itself.
        waker = subprocess.Popen(["sh", "-c", f"sleep {strike.seconds}; kill -CONT {pid}"], start_new_session=True)
        os.kill(pid, signal.SIGSTOP)
        waker.wait()
    elif strike.kind == "delay":
        sleep(strike.seconds)
    else:
        raise StruckError(strike.text)
