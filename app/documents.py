"""How is a document written as JSON? In one way, so that a stored answer and a fresh one are the same bytes."""

from typing import Any

import orjson


def as_json(document: Any) -> bytes:
    """Serialise a document: UTC times end in Z (RFC 3339)."""
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)
