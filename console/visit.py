"""What does a page get to know of a request? Who is there, what was asked for, and a form that is theirs.

The one way to a page, so that no route can forget a check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.requests import Request

from paidonce.app.audit import REASON_CHARS_MAX
from paidonce.console.desk import Desk
from paidonce.console.session import Session

#: Bytes of a form: a reason of the longest characters (12 bytes each, as forms write them), and a few words.
FORM_BYTES_MAX = 12 * REASON_CHARS_MAX + 4_096
FIELDS_MAX = 16


class LoginNeededError(Exception):
    """Nobody is logged in; `to` is the page to come back to, None after a form."""

    def __init__(self, to: str | None) -> None:
        super().__init__()
        self.to = to


class BadFormError(Exception):
    """The form is too large, or is none."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of an operator."""

    session: Session
    #: what stands in the path, by the route's names
    names: Mapping[str, Any]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)


async def visit_of(desk: Desk, request: Request) -> Visit:
    """Return the visit; its form is still to be read.

    Raises:
        LoginNeededError: nobody is logged in.
        NotAnOperatorError, KeySetUnavailableError, IssuerUnavailableError: as `Sessions.of`.
    """
    session = await desk.sessions.of(request)
    if session is None:
        raise LoginNeededError(_page(request) if request.method in {"GET", "HEAD"} else None)
    return Visit(session, dict(request.path_params), dict(request.query_params))


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of the form that was sent; raises BadFormError."""
    body, more = b"", True
    while more:
        message = await request.receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > FORM_BYTES_MAX:
            raise BadFormError(f"a form has {FORM_BYTES_MAX} bytes at most")
    try:
        return dict(parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=FIELDS_MAX, keep_blank_values=True))
    except ValueError as error:
        raise BadFormError("this is no form") from error


def _page(request: Request) -> str:
    query = request.url.query
    return quote(request.url.path, safe="/-_.~") + (f"?{query}" if query else "")
