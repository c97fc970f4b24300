"""Is this worker well, and is it ready? `/healthz`: the process runs. `/readyz`: its work goes on, else 503 and why.

Work goes on while each of the process's loops has ended its last pass well, and is heard of in time:
a pass that hangs says nothing, and nobody is to believe that it works.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import monotonic


@dataclass(slots=True)
class Loop:
    """What is known of one loop."""

    #: whether its last pass succeeded
    well: bool
    #: when it must have been heard of again, on the process's monotonic clock
    due_at: float


@dataclass(slots=True)
class Readiness:
    """What is known of a process's loops, by name; `stuck_s` seconds are what one pass may take."""

    stuck_s: float
    stop: Event
    now: Callable[[], float] = monotonic
    loops: dict[str, Loop] = field(default_factory=dict)

    def begins(self, loop: str) -> None:
        """A pass of the loop begins."""
        known = self.loops.get(loop)
        self.loops[loop] = Loop(well=known is not None and known.well, due_at=self.now() + self.stuck_s)

    def succeeded(self, loop: str, *, pause_s: float) -> None:
        """A pass ended well, and the loop pauses for up to that long."""
        self.loops[loop] = Loop(well=True, due_at=self.now() + pause_s + self.stuck_s)

    def failed(self, loop: str) -> None:
        """A pass failed."""
        self.loops[loop] = Loop(well=False, due_at=self.now() + self.stuck_s)

    def why_not(self) -> str:
        """Return why the process is not ready; empty: it is."""
        if self.stop.is_set():
            return "it stops"
        if not self.loops:
            return "it starts"
        for name, loop in list(self.loops.items()):
            if not loop.well:
                return f"{name}: no pass has succeeded since the last that failed, or since the start"
            if self.now() > loop.due_at:
                return f"{name}: a pass takes longer than {self.stuck_s:g} s (PAIDONCE_WORKER_STUCK_S)"
        return ""


def serve(host: str, port: int, why_not: Callable[[], str]) -> ThreadingHTTPServer:
    """Answer on `host`:`port` from a daemon thread; `shutdown()` ends it."""
    server = ThreadingHTTPServer((host, port), _handler(why_not))
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="readyz", daemon=True).start()
    return server


def _answer(path: str, why_not: Callable[[], str]) -> tuple[int, str]:
    if path == "/healthz":
        return 200, "it runs"
    if path == "/readyz":
        reason = why_not()
        return (503, reason) if reason else (200, "ready")
    return 404, "there are /healthz and /readyz"


def _handler(why_not: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Knows two paths."""

        def do_GET(self) -> None:
            status, words = _answer(self.path, why_not)
            body = f"{words}\n".encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Probes are not worth a line."""

    return Handler
