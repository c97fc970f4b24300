"""What do the headers of a request look like, for the OpenAPI document? The plain form: parsers take odder ones too.

An operation names its headers: `If-Match?` need not be there, `If-Match!` is one tag.
"""

from collections.abc import Mapping
from typing import Any

_TAG = '(?:W/)?"[!#-~]*"'
_TAGS = rf"^(?:\*|{_TAG}(?:, {_TAG})*)$"

HEADERS: Mapping[str, Mapping[str, Any]] = {
    "Idempotency-Key": {
        "required": True,
        "description": "Names this request: the same key again gets the same answer, and nothing happens twice. "
        'Bare or quoted, 1 to 255 visible ASCII characters: `order-1001` and `"order-1001"` are the same key.',
        "schema": {
            "type": "string",
            "pattern": r'^(?:[!#-~][!-~]{0,254}|"(?:[!#-\[\]-~]|\\["\\]){1,255}")$',
        },
        "example": "order-1001",
    },
    "If-Match": {
        "required": True,
        "description": "The ETag that the change is based on, or `*`.",
        "schema": {"type": "string", "pattern": _TAGS},
        "example": '"1"',
    },
    "If-Match!": {
        "required": True,
        "description": "The one ETag that this is for; neither a list nor `*`.",
        "schema": {"type": "string", "pattern": f"^{_TAG}$"},
        "example": '"1"',
    },
    "If-None-Match": {
        "required": False,
        "description": "ETags that you have. GET answers 304 for the current one; PUT with `*` only creates.",
        "schema": {"type": "string", "pattern": _TAGS},
        "example": '"1"',
    },
    "webhook-id": {
        "required": True,
        "description": "The event's id.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"},
    },
    "webhook-timestamp": {
        "required": True,
        "description": "Unix seconds.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,11}$"},
    },
    "webhook-signature": {
        "required": True,
        "description": "`v1,<base64>` …",
        "schema": {"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$"},
    },
}
RETRY_AFTER = {"description": "Seconds after which asking again may bring more.", "schema": {"type": "string"}}


def parameter(name: str) -> dict[str, Any]:
    """Return the Parameter Object of a header as an operation names it."""
    shown = HEADERS[name.rstrip("?")]
    return {
        **shown,
        "name": name.rstrip("?!"),
        "in": "header",
        "required": shown["required"] and not name.endswith("?"),
    }
