"""How does an error look on the wire? A problem document (RFC 9457) with a stable `type` and `code`.

The errors themselves are in app/errors.py; here are those that only HTTP has, and the rendering.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import orjson

from paidonce.app.api.reply import Reply
from paidonce.app.errors import BadRequestError, Problem, UnprocessableError

#: `type` is this and the code: it names the problem, and need not be fetched (RFC 9457, section 3.1.1).
TYPE_BASE = "https://paidonce.dev/problems/"
MEDIA_TYPE = "application/problem+json"


class MemberError(TypedDict):
    """What is wrong with one member of a body or one parameter."""

    #: a JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter
    pointer: str
    detail: str


class MalformedJsonError(BadRequestError):
    """The body is not JSON in UTF-8 without duplicate members (RFC 7493)."""

    code = "malformed-json"


class InvalidParameterError(BadRequestError):
    """A query parameter is unknown, repeated or has a wrong value."""

    code = "invalid-parameter"

    def __init__(self, errors: Sequence[MemberError]) -> None:
        """Keep which parameters are wrong."""
        super().__init__()
        self.errors = errors


class InvalidHeaderError(BadRequestError):
    """A request header is malformed."""

    code = "invalid-header"


class InvalidIdError(BadRequestError):
    """An id of your own has 1 to 128 characters out of letters, digits and . _ ~ : @ -."""

    code = "invalid-id"


class InvalidBodyError(UnprocessableError):
    """The request is well-formed, but a member of it is wrong."""

    def __init__(self, errors: Sequence[MemberError]) -> None:
        """Keep which members are wrong."""
        super().__init__()
        self.errors = errors


class MethodNotAllowedError(Problem):
    """This resource does not know the method."""

    status, code = 405, "method-not-allowed"

    def __init__(self, allow: str) -> None:
        """Say which methods there are."""
        super().__init__(f"This resource knows {allow}.")
        self.headers = {"Allow": allow}


class RequestTimeoutError(Problem):
    """The request's body did not arrive in time."""

    status, code = 408, "request-timeout"
    headers: Mapping[str, str] = {"Connection": "close"}


class PayloadTooLargeError(Problem):
    """The request's body is too large."""

    status, code = 413, "payload-too-large"


class UnsupportedMediaTypeError(Problem):
    """The body must be JSON in UTF-8."""

    status, code = 415, "unsupported-media-type"

    def __init__(self, accepted: Sequence[str]) -> None:
        """Say which media types are read here (RFC 9110, section 15.5.16)."""
        super().__init__(f"The body must be {' or '.join(accepted)}, in UTF-8, without a content encoding.")
        self.headers = {"Accept": ", ".join(accepted)}


class HeadTooLargeError(Problem):
    """The request line and the headers are too large together."""

    status, code = 431, "head-too-large"


def document(problem: Problem, request_id: str | None = None) -> dict[str, Any]:
    """Return the problem's document; an error of ours says nothing about its inside."""
    shown: dict[str, Any] = {
        "type": TYPE_BASE + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": str(problem),
        "code": problem.code,
    }
    errors = getattr(problem, "errors", None)
    if errors:
        shown["errors"] = list(errors)
    if request_id is not None:
        shown["request_id"] = request_id
    return shown


def reply(problem: Problem, request_id: str | None = None) -> Reply:
    """Return the answer that tells the caller of `problem`."""
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    return Reply(problem.status, orjson.dumps(document(problem, request_id)), headers, media_type=MEDIA_TYPE)
