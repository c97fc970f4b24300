"""What happens to every request, whatever route it takes? Its ids, its errors as problems, one line in the log."""

from time import perf_counter
from typing import Any

import structlog
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import TimeoutError as EngineTimeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paidonce.app import trace_context
from paidonce.app.api import meter, problems
from paidonce.app.api.trace import Trace, trace_of
from paidonce.app.db import is_transient
from paidonce.app.errors import CommitUnknownError, OutcomeUnknownError, Problem, UnavailableError
from paidonce.app.steps import step

#: An answer is for its caller alone, and is never run or framed as anything else.
_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"private, no-cache")]
_log = structlog.get_logger(__name__)


class Edge:
    """The outermost middleware of ours, pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, emit: Send) -> None:
        """Pass the request on; answer what it raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, emit)
            return
        trace = scope["paidonce.trace"] = trace_of(scope["headers"])
        with trace_context.within(trace.came):
            await self._answer(scope, receive, emit, trace)

    @step("api.request")
    async def _answer(self, scope: Scope, receive: Receive, emit: Send, trace: Trace) -> None:
        began = perf_counter()
        # Where a span was made of this step, that is what the request's events come from.
        if now := trace_context.current():
            trace.traceparent, trace.trace_id = now, now[3:35]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=trace.request_id, trace_id=trace.trace_id)
        status = 0

        async def emit_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _marked(message["headers"], trace)
            await emit(message)

        try:
            await self._app(scope, receive, emit_marked)
        except Exception as error:
            if status:
                raise
            await problems.reply(_problem(error), trace.request_id)(scope, receive, emit_marked)
        finally:
            seconds = perf_counter() - began
            meter.answered(scope["method"], trace.route, status, seconds)
            structlog.contextvars.bind_contextvars(method=scope["method"], route=trace.route, status=status)
            _log.info("request", ms=round(seconds * 1_000, 1), tenant=trace.tenant, payment_id=trace.payment_id)


def _marked(headers: list[tuple[bytes, bytes]], trace: Trace) -> list[tuple[bytes, bytes]]:
    names = {name for name, _ in headers}
    added = [header for header in _ALWAYS if header[0] not in names]
    quota = [(name.lower().encode(), value.encode()) for name, value in trace.quota.items()]
    return [*headers, *added, *quota, (b"x-request-id", trace.request_id.encode())]


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        if error.status >= 500:
            _log.warning("request failed", code=error.code, cause=_name(error.__cause__))
        return error
    if isinstance(error, CommitUnknownError):
        _log.warning("commit unknown")
        return OutcomeUnknownError()
    if isinstance(error, PoolTimeout | EngineTimeout) or is_transient(error):
        _log.warning("database unavailable", cause=_name(error))
        return UnavailableError()
    _log.error("internal error", exc_info=error)
    return Problem()


def _name(error: Any) -> str | None:
    return None if error is None else type(error).__name__
