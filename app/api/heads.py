"""How large may a request's head be? uvicorn's protocol, with a cap on it and answers that are problem documents.

With httptools uvicorn takes a head of any size, and answers what it cannot parse in text/plain,
before the application sees it. It also takes lines behind a chunked body for the head's, without an end to them.
"""

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from paidonce.app.api import problems
from paidonce.app.errors import BadRequestError, Problem

#: Seconds that a refused connection stays open, and is read for nothing.
LINGER_S = 1.0
#: Bytes around one header on the wire: colon, blank, line end.
_HEADER_OVERHEAD_BYTES = 4
#: Bytes around method and target: two blanks, HTTP/1.1, line end, and the empty line that ends the head.
_HEAD_OVERHEAD_BYTES = 14
#: Bytes of a refused body that are still read, so that the refusal reaches its sender, who writes first.
_DISCARDED_BYTES_MAX = 64 * 1024 * 1024


class HttpSyntaxError(BadRequestError):
    """This is not an HTTP request."""

    code = "http-syntax"


class CappedProtocol(HttpToolsProtocol):
    """One connection; `head_bytes_max` is set by `capped`."""

    head_bytes_max = 16_384
    #: seconds for a head to arrive: who sends slower holds a connection for nothing
    head_wait_s = 10.0
    _unparsed_bytes = 0
    _discarded_bytes = 0
    _in_head = True
    _refused: Problem | None = None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what arrives of a head, or around a body, which the parser keeps to itself until it is whole."""
        if self._refused is not None:
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._refused is not None:
            return
        if self._unparsed_bytes > self.head_bytes_max:
            self._refuse(problems.HeadTooLargeError())
        elif self._in_head and self._unparsed_bytes and self._head_timer is None:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._discarded_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head; one behind the body (RFC 9110, section 6.5.1) is none, and is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application see the request only if its head is small enough."""
        self._stop_waiting()
        lines = sum(len(name) + len(value) + _HEADER_OVERHEAD_BYTES for name, value in self.headers)
        # As many as on the wire: a head of this size is taken or refused alike, however it was cut on its way.
        if len(self.parser.get_method()) + len(self.url) + lines + _HEAD_OVERHEAD_BYTES > self.head_bytes_max:
            self._refused = problems.HeadTooLargeError()
            raise self._refused
        if self.parser.should_upgrade() and _has_body(self.headers):
            # The parser takes what follows for another protocol: the body would be dropped, or run as a request.
            raise HttpSyntaxError
        if self.parser.get_http_version() == "1.1" and not any(name == b"host" for name, _ in self.headers):
            raise HttpSyntaxError  # RFC 9112, section 3.2
        if b"#" in self.url:
            raise HttpSyntaxError  # no target has one (RFC 9112, section 3.2), and not every server ends the path there
        super().on_headers_complete()
        self._unparsed_bytes, self._in_head = 0, False

    def on_chunk_header(self) -> None:
        """Begin to count anew: what comes between two chunks, or behind the last, is bounded like a head."""
        self._unparsed_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Drop what is sent after the answer, up to a bound."""
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _DISCARDED_BYTES_MAX:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to wait for the next head."""
        super().on_message_complete()
        self._unparsed_bytes, self._in_head = 0, True

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused."""
        del msg  # "Invalid HTTP request received.", whatever it was
        self._refuse(self._refused or HttpSyntaxError())

    def _refuse(self, problem: Problem) -> None:
        self._refused = problem
        self._stop_waiting()
        if self._runs():
            self.pipeline.clear()
            return
        if not self._in_head and self.cycle.response_complete:
            self.transport.close()  # it was answered before it ended: a second answer would be taken for the next one's
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # The refusal is the answer; the application's own would be written after the end.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = orjson.dumps(problems.document(problem))
        head = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (
            problems.MEDIA_TYPE.encode(),
            len(body),
        )
        self.transport.write(STATUS_LINE[problem.status] + head + body)
        self._close_when_read()

    def _runs(self) -> bool:
        """Tell whether an earlier request of this connection still runs: then its answer is the last one."""
        cycle = self.cycle
        if self.pipeline:
            return True
        return cycle is not None and not cycle.response_complete and (cycle.response_started or not cycle.more_body)

    def on_response_complete(self) -> None:
        """Go on with the next request, unless it was refused."""
        super().on_response_complete()
        if self._refused is not None:
            self.transport.close()

    def _close_when_read(self) -> None:
        """Close in a moment: closed at once, with bytes unread, the answer would be lost in a reset."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_wait_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._in_head and not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def capped(head_bytes_max: int) -> type[CappedProtocol]:
    """Return the protocol class for uvicorn, which makes its instances itself."""
    members: dict[str, Any] = {"head_bytes_max": head_bytes_max}
    return type("CappedProtocol", (CappedProtocol,), members)
