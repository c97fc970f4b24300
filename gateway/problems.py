"""What does a gateway say when it says no? The API's own problem documents, and the few that only a gateway has."""

from collections.abc import Mapping

import orjson

from paidonce.app.api.problems import HeadTooLargeError, PayloadTooLargeError, document
from paidonce.app.errors import (
    BadRequestError,
    InsufficientScopeError,
    InvalidTokenError,
    KeySetUnavailableError,
    MissingTokenError,
    NotFoundError,
    Problem,
    RateLimitedError,
    UnavailableError,
)


class MethodNotAllowedError(Problem):
    """This resource does not know the method."""

    status, code = 405, "method-not-allowed"


class BadGatewayError(Problem):
    """The service behind the gateway gave no answer: whether it acted is unknown, ask again with the same key."""

    status, code, retry_after = 502, "bad-gateway", 1


class GatewayTimeoutError(Problem):
    """The service behind the gateway did not answer in time: ask again with the same Idempotency-Key."""

    status, code, retry_after = 504, "gateway-timeout", 1


ALL: Mapping[str, Problem] = {
    problem.code: problem
    for problem in (
        BadRequestError(),
        MissingTokenError(),
        InvalidTokenError(""),
        InsufficientScopeError(),
        NotFoundError(),
        MethodNotAllowedError(),
        PayloadTooLargeError(),
        RateLimitedError(),
        HeadTooLargeError(),
        Problem(),
        BadGatewayError(),
        UnavailableError(),
        KeySetUnavailableError(),
        GatewayTimeoutError(),
    )
}


def headers(problem: Problem) -> dict[str, str]:
    """Return the headers that belong to the problem."""
    retry = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    return dict(problem.headers) | retry


def opening(problem: Problem) -> str:
    """Return the problem's document without its last brace: the request's id is still to come."""
    return orjson.dumps(document(problem)).decode().removesuffix("}")
