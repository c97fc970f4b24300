"""On what do faults act? On what runs, ours or another's; a nemesis is what makes one kind of fault there.

A nemesis is a context manager: entering strikes, and yields in words what was seen once the fault
has really fired; leaving heals. What cannot be struck raises DidNotFireError.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from paidonce.chaos.proxy.client import Proxies
from paidonce.chaos.schedule import Planned
from paidonce.devstack.stack import Stack
from paidonce.devstack.standing import Standing


class DidNotFireError(Exception):
    """The fault did not happen; the message says why."""


@dataclass(frozen=True)
class Arena:
    """Running servers and processes, and the folder of the run's evidence."""

    stack: Standing
    folder: Path
    #: the links through which the stack was led (`Stack(detour=proxies.detour)`); None: it was not
    proxies: Proxies | None = None

    @property
    def product(self) -> Stack:
        """Our own stack, for faults that there are only of us; raises DidNotFireError on somebody else's."""
        if not isinstance(self.stack, Stack):
            raise DidNotFireError("this fault is one of Paidonce's own processes only")
        return self.stack


Nemesis = Callable[[Arena, Planned], AbstractContextManager[str]]
