"""How does a nemesis reach the proxy? By plain calls: the process is started, told, asked, and gone at the end."""

import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import orjson

from paidonce.app.errors import PaidonceError
from paidonce.chaos.proxy.faults import Fault, Firing
from paidonce.chaos.proxy.link import LOOPBACK
from paidonce.devstack.ports import free_port

#: Seconds for an answer of the proxy: it does nothing but the faults it is told.
ANSWER_S = 10.0
#: Seconds for a fault to strike something, by default: the slowest periodic traffic of the stack has come by then.
FIRES_WITHIN_S = 15.0
#: What a server speaks, by the beginning of its name in the stack; all else is HTTP.
SPOKEN = {"postgres": "postgres", "kafka": "kafka", "valkey": "resp"}


class ProxyError(PaidonceError):
    """The proxy did not do what it was told: the message is its own."""


class NotFiredError(ProxyError):
    """A fault was armed, and its event did not come."""


class Proxies:
    """One proxy process with its links, while the `with` block lasts.

    `detour` is what `devstack.stack.Stack(detour=…)` takes. The calls may come from several threads.
    """

    def __enter__(self) -> Self:
        with ExitStack() as started:
            # Of its own, and short: the address of a Unix socket has 107 bytes at most.
            self._folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="paidonce-proxy-")))
            self._start(started)
            self._closing = started.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    def detour(self, name: str, address: str) -> str:
        """Open a link to the server `name` at `address` (`host:port`); return the address that leads through it."""
        return self.open(
            name, next((spoken for begin, spoken in SPOKEN.items() if name.startswith(begin)), "http"), address
        )

    def open(self, name: str, protocol: str, to: str) -> str:
        """Open a link on a free port; return its `host:port`. Raises ProxyError when the name is taken."""
        port = free_port()
        self._ask(do="open", name=name, protocol=protocol, to=to, port=port)
        return f"{LOOPBACK}:{port}"

    def arm(self, fault: Fault) -> int:
        """Let a fault begin at its event, or at once; return its number. Raises ProxyError when it cannot be meant."""
        return int(self._ask(do="arm", fault=asdict(fault)))

    def heal(self, number: int | None = None) -> None:
        """End a fault, or all of them; one that has not begun never does."""
        self._ask(do="heal", **({} if number is None else {"number": number}))

    def fired(self, number: int | None = None) -> list[Firing]:
        """Return what really happened, in order; of one fault or of all."""
        found = self._ask(do="fired", **({} if number is None else {"number": number}))
        return [Firing(**one) for one in found]

    def wait_fired(self, number: int, *, firings: int = 1, within_s: float = FIRES_WITHIN_S) -> list[Firing]:
        """Wait until the fault fired so often, and return its firings.

        Raises:
            NotFiredError: it did not within that time; says what the link saw instead.
        """
        found = self._ask(do="wait", number=number, firings=firings, within_s=within_s, patience_s=within_s)
        if len(found) < firings:
            raise NotFiredError(
                f"fault {number} fired {len(found)} of {firings} times in {within_s:g} s: {self.links()}"
            )
        return [Firing(**one) for one in found]

    def links(self) -> dict[str, dict[str, Any]]:
        """Return of each link its `connections` now, the count of `events` so far, and why some went `blind`."""
        return dict(self._ask(do="links"))

    def _start(self, started: ExitStack) -> None:
        config, self._control = self._folder / "config.json", self._folder / "control"
        config.write_bytes(orjson.dumps({"control": str(self._control), "links": []}))
        argv = [sys.executable, "-m", "paidonce.chaos.proxy", str(config)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        started.callback(self._stop)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise ProxyError("the proxy ended before it was ready: its last words are above")

    def _stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, *, patience_s: float = 0.0, **said: Any) -> Any:
        # A connection for each: one that waits for a fault must not hold up who heals another.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience_s + ANSWER_S)
            connection.connect(str(self._control))
            connection.sendall(orjson.dumps(said) + b"\n")
            with connection.makefile("rb") as answers:
                answer = orjson.loads(answers.readline())
        if "error" in answer:
            raise ProxyError(answer["error"])
        return answer["ok"]
