"""Which request of HTTP/1.1 does this answer belong to? They are paired in order, as one connection answers them.

Every request and its answer (the last one, not a 1xx) is an event named after the method; the subject is the
request's target, and a fault's `match` its beginning. (RFC 9112, sections 2 to 7.)
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

from paidonce.chaos.proxy.reading import SIDES, Event, Line, Parser, Pass, Side, UnreadableError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
EVENTS: frozenset[tuple[str, Side]] = frozenset((method, side) for method in METHODS for side in SIDES)

#: A body that lasts until the connection ends.
ENDLESS = 1 << 62


@dataclass(slots=True)
class _Head:
    """What the header lines say of the body."""

    length: int | None = None
    chunked: bool = False


class Http:
    """What a client and a server say."""

    def __init__(self) -> None:
        self._asked: deque[tuple[str, str]] = deque()

    def requests(self) -> Parser:
        """Read what the client says."""
        while True:
            line = yield Line()
            if line == b"\r\n":
                yield Pass(2)
                continue
            method, target, version, *_ = [*line.decode("latin-1").split(), "", "", ""]
            if method not in METHODS or not version.startswith("HTTP/1."):
                raise UnreadableError(f"no request of HTTP/1.1: {line[:40]!r}")
            self._asked.append((method, target))
            yield Event(method, "request", target)
            yield Pass(len(line))
            head = yield from _headers()
            yield from _body(head)

    def answers(self) -> Parser:
        """Read what the server says."""
        while True:
            line = yield Line()
            version, status, *_ = [*line.decode("latin-1").split(), "", ""]
            if not version.startswith("HTTP/1.") or not status.isdigit():
                raise UnreadableError(f"no answer of HTTP/1.1: {line[:40]!r}")
            if status == "101":
                raise UnreadableError("another protocol from here on")
            if status.startswith("1"):
                yield Pass(len(line))
                yield from _headers()
                continue
            if not self._asked:
                raise UnreadableError("an answer to nothing that was asked")
            method, target = self._asked.popleft()
            yield Event(method, "answer", target)
            yield Pass(len(line))
            head = yield from _headers()
            if method != "HEAD" and status not in {"204", "304"}:
                if head.length is None and not head.chunked:
                    yield Pass(ENDLESS)
                yield from _body(head)


def _headers() -> Generator[Line | Pass, bytes, _Head]:
    head = _Head()
    while True:
        line = yield Line()
        yield Pass(len(line))
        if line == b"\r\n":
            return head
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-length":
            if not value.strip().isdigit():
                raise UnreadableError(f"no length: {value.strip()[:40]!r}")
            head.length = int(value)
        elif name.lower() == "transfer-encoding":
            head.chunked = value.strip().lower().endswith("chunked")


def _body(head: _Head) -> Generator[Line | Pass, bytes, None]:
    if not head.chunked:
        yield Pass(head.length or 0)
        return
    while True:
        line = yield Line()
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError as error:
            raise UnreadableError(f"no size of a chunk: {line[:40]!r}") from error
        yield Pass(len(line))
        if size == 0:
            break
        yield Pass(size + 2)
    # Trailers, as header lines.
    yield from _headers()
