"""Is this worker ready? `/readyz` on loopback: 200 after a pass that succeeded, 503 otherwise."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


def serve(port: int, is_ready: Callable[[], bool]) -> ThreadingHTTPServer:
    """Answer `/readyz` on 127.0.0.1:`port` from a daemon thread; `shutdown()` ends it."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(is_ready))
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="readyz", daemon=True).start()
    return server


def _handler(is_ready: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Knows one path."""

        def do_GET(self) -> None:
            status = 404 if self.path != "/readyz" else 200 if is_ready() else 503
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Probes are not worth a line."""

    return Handler
