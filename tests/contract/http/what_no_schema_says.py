"""What must schemathesis be told that no schema can say? Loaded by it, beside schemathesis.toml.

Nothing here switches a check off: each row of ALLOWED lets pass one failure of one check, for one problem of ours,
because of a fact that only the server's state or a sum knows. All else that these checks find fails the test.
"""

import itertools
import os
import re
from datetime import UTC, datetime
from typing import Any

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import MissingHeaderNotRejected, RejectedPositiveData

from paidonce.app.api.headers import HEADERS
from paidonce.app.webhooks import signing

#: failure -> code of the problem -> why it is right although the schema took the request for a good one
ALLOWED: dict[type[BaseException], dict[str, str]] = {
    RejectedPositiveData: {
        "precondition-failed": "which version is the current one, only the server knows",
        "customer-unknown": "which customers there are, only the server knows",
        "webhook-signature": "no schema can sign; where only the headers were made up, `before_call` signs",
    },
    AcceptedNegativeData: {
        "precondition-failed": "it was not taken: conditions are judged before the body (RFC 9110, 13.2.1)",
    },
    MissingHeaderNotRejected: {
        "precondition-required": "428 is what RFC 6585 made for this; schemathesis expects 400",
    },
}
#: What a member's `detail` says -> likewise
ALLOWED_DETAILS = {
    "Input should be a valid integer": "1.0 is an integer to JSON Schema; whoever writes money so has floats somewhere",
    "A string has a NUL": "no text of PostgreSQL's has one, and no type of JSON Schema is without",
    "all items together must cost": "no schema adds up",
    "https only": "a setting allows http, in demo and tests",
    "url: ": "no pattern says which addresses are real",
    "a host and a real port": "likewise",
    "Invalid": "likewise: what httpx says of them",
}
_keys = itertools.count()


class Signed(AuthBase):
    """Signs the bytes of a request as the provider does."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put a time and a signature that fit into the headers."""
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        if body != body.decode(errors="ignore").encode():
            return request  # the library signs texts, as the provider does
        webhook_id = str(request.headers["webhook-id"])
        secret = os.environ["PAIDONCE_PROVIDER_SECRET"]
        request.headers.update(signing.sign(secret, webhook_id, datetime.now(UTC), body))
        return request


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Send what a client would: a new key for what is new, a version that is there, a webhook that is signed."""
    del context
    if case.meta is None or case.meta.is_negative_at(ParameterLocation.HEADER):
        return
    if case.path == "/webhooks/provider":
        kwargs["auth"] = Signed()
    if case.headers.get("Idempotency-Key") == HEADERS["Idempotency-Key"]["example"]:
        case.headers["Idempotency-Key"] = f"key-{next(_keys)}"
    if case.headers.get("If-Match") == HEADERS["If-Match"]["example"] and case.method in ("PUT", "PATCH", "DELETE"):
        if case.method == "PATCH":
            case.headers["If-Match"] = "*"
        else:
            del case.headers["If-Match"]


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Keep a failure unless a row allows it."""
    del context
    if isinstance(failure, RejectedPositiveData) and any(map(_malformed, case.headers.items())):
        return False  # its coverage phase takes a request for a good one although the header has another form
    problem = response.json() if "problem+json" in str(response.headers.get("content-type")) else {}
    if problem.get("code") in ALLOWED.get(type(failure), {}):
        return False
    details = [error["detail"] for error in problem.get("errors", ())] or [problem.get("detail", "")]
    known = all(any(text in detail for text in ALLOWED_DETAILS) for detail in details)
    return not (isinstance(failure, RejectedPositiveData) and known)


def _malformed(header: tuple[str, Any]) -> bool:
    name, value = header
    said = HEADERS.get(name)
    return said is not None and re.fullmatch(said["schema"]["pattern"], str(value)) is None
