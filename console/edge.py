"""What does every answer say to the browser? That nothing else is loaded, framed, kept or told to anybody."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paidonce.console.place import Place

#: No script at all, ours neither. Plots are in the page itself.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: a form would then be posted with `Origin: null`, which is nobody's.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cache-Control": "no-store",
}
#: A year, as browsers' lists want it.
TRANSPORT = "max-age=31536000"


class Edge:
    """Adds the headers to every answer, errors too."""

    def __init__(self, app: ASGIApp, here: Place) -> None:
        self._app = app
        self._headers = HEADERS | ({"Strict-Transport-Security": TRANSPORT} if here.secure else {})

    async def __call__(self, scope: Scope, receive: Receive, emit: Send) -> None:
        """Pass the request on."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await emit(message)

        await self._app(scope, receive, told if scope["type"] == "http" else emit)
