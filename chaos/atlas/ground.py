"""On what does an atlas strike? One warm stack: two of most workers, each obeying orders, and a till that goes on."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paidonce.chaos import launch
from paidonce.chaos.atlas.load import Till
from paidonce.chaos.conduct import OUTSIDERS
from paidonce.chaos.orders import Desk
from paidonce.chaos.run import PROVIDER
from paidonce.devstack.stack import Stack

#: Workers of which there are two: whoever is stopped beyond its lease finds out that another took over.
PAIRS = ("relay", "effects", "cleaner", "consumer-charges")
#: Seconds of one command of an operator: two, unless it is stopped on the way or the machine is busy.
COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A running stack with its orders and its customers."""

    stack: Stack
    desk: Desk
    till: Till
    #: of the evidence
    folder: Path

    def command(self, *words: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `paidonce` as an operator of this stack would; it obeys orders too. Returns when it has ended."""
        env = dict(self.stack.process("cleaner").command.env) | {"PAIDONCE_WORKER_PORT": "0"} | dict(environment or {})
        return subprocess.run(
            [*launch.arguments(orders=self.desk.folder), *words],
            env=env,
            cwd=self.stack.run.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )


def stack(desk: Desk) -> Stack:
    """Return the stack, not started yet."""

    def how(name: str) -> Sequence[str]:
        return [sys.executable, "-m", "paidonce.cli"] if name in OUTSIDERS else launch.arguments(orders=desk.folder)

    return Stack(replicas=2, pairs=PAIRS, overrides=PROVIDER, launch=how)
