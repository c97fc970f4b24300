"""S3: whoever finds the key taken gets what is stored, whatever the request was.

A client that uses a key twice by mistake is told of another payment, as if it were its own.
"""

from paidonce.app.errors import IdempotencyKeyExpiredError
from paidonce.app.idempotency.guard import Guard
from paidonce.app.idempotency.store import Claim, Found, Response
from paidonce.chaos.sabotage.patching import swap


def replay(_guard: Guard, _claim: Claim, found: Found) -> Response:
    """Return what is stored, without a look at the request's hash."""
    if found.expired or found.response is None:
        raise IdempotencyKeyExpiredError
    return found.response


def take_out() -> None:
    """Replay whatever is stored."""
    swap(Guard, "_replay", replay)
