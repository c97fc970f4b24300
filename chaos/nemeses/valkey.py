"""What is done to Valkey? It is killed, forgets everything, and comes back empty."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.valkey import restart_valkey
from paidonce.devstack.waiting import until

#: Seconds within which it ends after SIGKILL: milliseconds.
END_WITHIN_S = 10.0


@contextmanager
def crash(arena: Arena, _planned: Planned) -> Iterator[str]:
    """SIGKILL; it is started again after `for_s` seconds, with nothing in it."""
    server = arena.stack.servers.valkey
    process = server.process
    if process is None:
        raise DidNotFireError("Valkey is not of this stack")
    process.send(signal.SIGKILL)
    until(lambda: not process.alive(), within_s=END_WITHIN_S, what="the end of Valkey")
    try:
        yield f"pid {process.pid} died, with every counter and cart"
    finally:
        restart_valkey(arena.stack.run, server)
