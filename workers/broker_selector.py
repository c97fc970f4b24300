"""How does a Kafka client wait for its sockets? As ever, but without naming a socket that it does not know yet.

kafka-python asks for a socket's registration before each wait, and mostly there is none. The
standard library's KeyError then spells the socket out, with two system calls: a tenth of the
CPU seconds of a relay with small windows (docs/performance.md).
"""

from selectors import DefaultSelector, SelectorKey
from typing import Any


class Selector(DefaultSelector):
    """The platform's selector."""

    def get_key(self, fileobj: Any) -> SelectorKey:
        """Return the registration of `fileobj`; raises KeyError when there is none."""
        for key in self.get_map().values():
            if key.fileobj is fileobj:
                return key
        raise KeyError("not registered")
