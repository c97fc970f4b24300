"""Which loopback port is free? One below the range that outgoing connections draw from.

A port that the kernel hands out (`bind` to 0) may be taken again by any outgoing connection
before the server binds it; these are only ever taken by servers.
"""

import random
import socket
import threading

from paidonce.devstack.errors import StackError

LOOPBACK = "127.0.0.1"

#: Below Linux's ephemeral ports (32768 and up), above what distributions give to services.
FIRST, LAST = 20_000, 31_999

#: The chance that this many draws all fail with half of the ports taken is one in a million million.
DRAWS = 40

_given: set[int] = set()
_lock = threading.Lock()
_draw = random.SystemRandom()


def free_port() -> int:
    """Return a port that nothing listens on and that this process did not give away before."""
    with _lock:
        for _ in range(DRAWS):
            port = _draw.randint(FIRST, LAST)
            if port not in _given and _free(port):
                _given.add(port)
                return port
    raise StackError(f"no free port found between {FIRST} and {LAST}")


def listening(port: int) -> bool:
    """Tell whether a server accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
