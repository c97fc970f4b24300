"""What are the bytes of an event or a request of yours? A model's JSON, a mapping's, or your own bytes as they are."""

from collections.abc import Mapping

import orjson
from pydantic import BaseModel

Payload = BaseModel | Mapping[str, object] | bytes


def encode(payload: Payload) -> bytes:
    """Return the bytes, made once: what is stored is what is sent, every time."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, BaseModel):
        return payload.model_dump_json(by_alias=True).encode()
    return orjson.dumps(payload)
