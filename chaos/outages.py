"""What is done to the servers while the load runs? They are killed, stand still, or hand over, and are back in the end.

Here our own processes must get over it by themselves (docs/operations.md, "Outages and failover").
"""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep, time

import psutil

from paidonce.chaos.facts import Fault
from paidonce.chaos.run import MakeFaults
from paidonce.devstack.processes import Process
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

#: Seconds within which all processes of ours work again after a server is back: about 3 on a quiet machine.
BACK_WITHIN_S = 45.0
#: Seconds within which a server ends after its signal: a fast shutdown writes everything out first.
END_WITHIN_S = 30.0
#: Seconds between looks at the clock before an outage is due.
TICK_S = 0.02


@dataclass(frozen=True)
class Outage:
    """Something that is done to a server in the middle of a load, and undone."""

    target: str
    #: at which share of the load's time
    at: float
    #: strikes, and returns once the server is back or another has taken its place
    do: Callable[[Stack], object]


def outages(*planned: Outage, load_s: float) -> MakeFaults:
    """Return the outages of a load of so many seconds; one is over when every process of ours is ready again."""

    def strike(stack: Stack, began: float, told: Callable[[Fault], None]) -> list[Fault]:
        done: list[Fault] = []
        for outage in planned:
            while monotonic() < began + outage.at * load_s:
                sleep(TICK_S)
            fired = time()
            outage.do(stack)
            stack.wait_ready(within_s=BACK_WITHIN_S)
            done.append(_over(outage, fired))
            told(done[-1])
        return done

    return strike


def _over(outage: Outage, fired_at: float) -> Fault:
    now = time()
    return Fault(kind="outage", target=outage.target, fired_at=fired_at, healed_at=now, back_after_s=now - fired_at)


def end(process: Process, number: signal.Signals) -> None:
    """Send a server the signal, and wait until it is gone."""
    process.send(number)
    until(lambda: not process.alive(), within_s=END_WITHIN_S, what=f"the end of {process.name}")


def everywhere(process: Process, number: signal.Signals) -> None:
    """Send the signal to a server and to all that it has started, as if it came over its whole machine."""
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(process.pid)
        for one in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)
