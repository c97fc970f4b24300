"""How is a call kept? In the journal before anything is done about it, and its answer before it is sent."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from paidonce.app.clock import Clock
from paidonce.devstack.provider.journal import Journal
from paidonce.devstack.provider.resettable import reset

#: Works on a request, its number and its body; None: nothing is answered, the connection is reset.
Handle = Callable[[Request, int, bytes], Awaitable[Response | None]]


class Stop(Exception):  # noqa: N818  not an error: an answer that ends the request early
    """This answer, and nothing more happens."""

    def __init__(self, status: int, code: str, *, type_: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.type, self.retry_after_s = status, code, type_, retry_after_s


class Calls:
    """Keeps every call; `refusal` writes a dialect's error."""

    def __init__(self, journal: Journal, clock: Clock, refusal: Callable[[Stop], Response]) -> None:
        self._journal, self._clock, self._refusal = journal, clock, refusal

    async def answer(self, request: Request, handle: Handle) -> Response:
        """Let `handle` work on a request; return its answer, which is in the journal by then."""
        body = await request.body()
        call = self._journal.asked(
            at=self._now(),
            method=request.method,
            path=request.url.path,
            query=request.url.query,
            headers={name: value for name, value in request.headers.items() if name != "authorization"},
            key=request.headers.get("idempotency-key"),
            body=body,
        )
        note = None
        try:
            response = await handle(request, call, body)
        except Stop as stop:
            response, note = self._refused(stop), stop.code
        if response is None:
            self._journal.answered(call, at=self._now(), status=None, answer=b"", note="reset")
            assert request.client is not None
            reset((request.client.host, request.client.port))
            return Response(status_code=500)  # goes nowhere: the connection is gone
        answer = bytes(response.body)
        self._journal.answered(call, at=self._now(), status=response.status_code, answer=answer, note=note)
        return response

    def _refused(self, stop: Stop) -> Response:
        response = self._refusal(stop)
        if stop.retry_after_s is not None:
            response.headers["Retry-After"] = str(stop.retry_after_s)
        return response

    def _now(self) -> float:
        return self._clock.now().timestamp()
