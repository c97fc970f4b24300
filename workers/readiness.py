"""Is this worker well, and is it ready? `/healthz`: the process runs; `/readyz`: its last pass succeeded, else 503."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


def serve(host: str, port: int, is_ready: Callable[[], bool]) -> ThreadingHTTPServer:
    """Answer on `host`:`port` from a daemon thread; `shutdown()` ends it."""
    server = ThreadingHTTPServer((host, port), _handler(is_ready))
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="readyz", daemon=True).start()
    return server


def _status(path: str, is_ready: Callable[[], bool]) -> int:
    if path == "/healthz":
        return 200
    if path == "/readyz":
        return 200 if is_ready() else 503
    return 404


def _handler(is_ready: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Knows two paths."""

        def do_GET(self) -> None:
            self.send_response(_status(self.path, is_ready))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Probes are not worth a line."""

    return Handler
