"""Which claim does a request make? Its key, and the hash of all that makes it the request it is."""

from typing import Any

from paidonce.app.api.operation import Call
from paidonce.app.api.reply import Reply
from paidonce.app.idempotency.fingerprint import fingerprint
from paidonce.app.idempotency.guard import Stored
from paidonce.app.idempotency.key import parse_key
from paidonce.app.idempotency.store import Claim


def claim_of(call: Call, document: dict[str, Any] | None) -> Claim:
    """Return the claim of a request that moves money; `document` is its parsed body.

    Raises:
        IdempotencyKeyMissingError, IdempotencyKeyMalformedError: as `parse_key` does.
    """
    scope = call.scope
    return Claim(
        tenant=call.tenant,
        endpoint=f"{call.operation.method} {call.operation.path}",
        key=parse_key(call.headers.getlist("idempotency-key")),
        request_hash=fingerprint(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            media_type="" if document is None else call.operation.media_types[0],
            body=document,
        ),
        retention=call.services.settings.key_retention(money=True),
    )


def stored_reply(call: Call, stored: Stored) -> Reply:
    """Return the answer that is kept, byte for byte, marked when it was there before; hint at a new event."""
    response = stored.response
    if stored.replayed:
        return Reply(response.status, response.body, {**response.headers, "idempotent-replayed": "true"})
    call.services.hinter.hint()
    return Reply(response.status, response.body, response.headers)
