"""What can go wrong, on one screen. The docstring is the default message.

`status` and `code` are what an HTTP caller sees (RFC 9457); `code` is stable and is the last
part of the problem's `type`. Errors without a `status` never reach a caller as they are.
"""

from collections.abc import Collection, Mapping


class PaidonceError(Exception):
    """Something in Paidonce failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigurationError(PaidonceError):
    """A setting is missing or wrong: the message names it and says what to do."""


class SchemaVersionError(ConfigurationError):
    """The database has another schema version than this program: run `paidonce migrate`."""


class CommitUnknownError(PaidonceError):
    """A COMMIT got no answer: nobody knows whether it happened. Asking again under the same key tells."""


class AwayError(PaidonceError):
    """What the work needs takes no connection: nothing happened, and the same may succeed later."""


class LeaseLostError(PaidonceError):
    """Another process holds the lease now: stop, and start as a newcomer."""


class Problem(PaidonceError):  # noqa: N818  the word of RFC 9457
    """The request cannot be carried out."""

    status = 500
    code = "internal"
    #: seconds after which the same request may succeed; None: it will not by waiting
    retry_after: int | None = None
    #: response headers that belong to this error
    headers: Mapping[str, str] = {}

    @property
    def title(self) -> str:
        """The class's own sentence: the same for every occurrence (RFC 9457, section 3.1.3)."""
        return (type(self).__doc__ or "").strip().splitlines()[0]


class BadRequestError(Problem):
    """The request is malformed."""

    status, code = 400, "bad-request"


class IdempotencyKeyMissingError(BadRequestError):
    """This request needs an Idempotency-Key header."""

    code = "idempotency-key-missing"


class IdempotencyKeyMalformedError(BadRequestError):
    """The Idempotency-Key header must be one line of 1 to 255 visible ASCII characters."""

    code = "idempotency-key-malformed"


class MissingTokenError(Problem):
    """This request needs an Authorization header with a bearer token."""

    status, code = 401, "missing-token"
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class InvalidTokenError(Problem):
    """The bearer token is not valid."""

    status, code = 401, "invalid-token"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

    def __init__(self, reason: str) -> None:
        """Keep `reason` for the log; the caller gets the same answer whatever it is."""
        super().__init__()
        self.reason = reason


class InsufficientScopeError(Problem):
    """The token is valid, but does not carry the right to do this."""

    status, code = 403, "insufficient-scope"

    def __init__(self, scopes: Collection[str] = ()) -> None:
        """Name the `scopes` that the request needs (RFC 6750, section 3.1)."""
        super().__init__()
        needed = f', scope="{" ".join(sorted(scopes))}"' if scopes else ""
        self.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope"{needed}'}


class RefundLimitError(InsufficientScopeError):
    """The refunds of this payment would add up to more than this token allows: its claim refund_limit would have to."""

    code = "refund-limit-exceeded"


class NotFoundError(Problem):
    """There is no such resource."""

    status, code = 404, "not-found"


class ConflictError(Problem):
    """The resource's state does not allow this."""

    status, code = 409, "conflict"


class IdempotencyKeyReusedError(ConflictError):
    """This Idempotency-Key was used before for another request."""

    code = "idempotency-key-reused"

    def __init__(self, *, ietf: bool = False) -> None:
        super().__init__()
        if ietf:  # the IETF draft, section 2.7, answers 422
            self.status = 422


class IdempotencyKeyExpiredError(ConflictError):
    """This Idempotency-Key was used before, and its response is no longer kept."""

    code = "idempotency-key-expired"


class RequestInProgressError(ConflictError):
    """The first request with this Idempotency-Key is still running."""

    code, retry_after = "request-in-progress", 1


class NotCancelableError(ConflictError):
    """Only a pending payment can be canceled."""

    code = "not-cancelable"


class NotRefundableError(ConflictError):
    """Only a captured payment can be refunded, and never by more than is left of it."""

    code = "not-refundable"


class CartPaidError(ConflictError):
    """This version of the cart was paid by another request, with other members: Location names its payment."""

    code = "cart-paid"

    def __init__(self, location: str) -> None:
        """Name the payment that there is."""
        super().__init__()
        self.headers = {"Location": location}


class PreconditionFailedError(Problem):
    """The resource has changed: its ETag is not the one in If-Match."""

    status, code = 412, "precondition-failed"


class UnprocessableError(Problem):
    """The request is well-formed, but a member of it is wrong."""

    status, code = 422, "unprocessable"


class CustomerUnknownError(UnprocessableError):
    """There is no customer with this customer_id: PUT /v1/customers/{id} first."""

    code = "customer-unknown"


class PreconditionRequiredError(Problem):
    """This request needs an If-Match header with the resource's ETag."""

    status, code = 428, "precondition-required"


class RateLimitedError(Problem):
    """There were too many requests: ask again after the seconds in Retry-After."""

    status, code = 429, "rate-limited"

    def __init__(self, policy: str = "", retry_after: int = 1) -> None:
        """Name the `policy` of RateLimit-Policy that is used up, if any, for `retry_after` seconds."""
        super().__init__(f"The quota of the {policy} is used up: ask again in {retry_after} s." if policy else None)
        self.retry_after = retry_after


class UnavailableError(Problem):
    """The service cannot do this right now; nothing was lost, and asking again is safe."""

    status, code, retry_after = 503, "unavailable", 1


class OutcomeUnknownError(UnavailableError):
    """The database did not answer our COMMIT: ask again with the same Idempotency-Key to learn what happened."""

    code = "outcome-unknown"


class CartsUnavailableError(UnavailableError):
    """Carts cannot be reached right now; payments go on without them."""

    code, retry_after = "carts-unavailable", 2


class RateLimitUnavailableError(UnavailableError):
    """Requests cannot be counted right now, and this installation lets none through uncounted."""

    code, retry_after = "rate-limit-unavailable", 2


class KeySetUnavailableError(UnavailableError):
    """The issuer's keys cannot be fetched, so no token can be checked."""

    code = "key-set-unavailable"


class IssuerUnavailableError(UnavailableError):
    """The issuer cannot be asked about this token."""

    code = "issuer-unavailable"
