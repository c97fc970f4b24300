"""What does a handler answer? A status, bytes that are final, and headers; nothing is serialised twice."""

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

JSON = "application/json"


class Reply:
    """A whole response, and the ASGI application that sends it; `headers` win over the defaults."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, *, media_type: str = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.media_type = media_type

    async def __call__(self, scope: Scope, _receive: Receive, emit: Send) -> None:
        """Send it; to HEAD without the body, but with its length (RFC 9110, section 9.3.2)."""
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        if self.status not in (204, 304):
            lines.append((b"content-type", self.media_type.encode()))
            lines.append((b"content-length", b"%d" % len(self.body)))
        await emit({"type": "http.response.start", "status": self.status, "headers": lines})
        await emit({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self.body})
