"""Which request is this? Its id and its trace, taken from the caller where they are well-formed.

Source: W3C Trace Context, section 3.2; the id of the request is a custom of the field.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_bytes

from paidonce.app.trace_context import FORM

_REQUEST_ID = re.compile(rb"[!-~]{1,64}")
_TRACEPARENT = re.compile(FORM.encode())


@dataclass(slots=True)
class Trace:
    """What names a request in logs, answers and events; the last four become known on the way."""

    request_id: str
    #: goes into the headers of the request's events
    traceparent: str
    trace_id: str
    #: the caller's own `traceparent`; empty: it sent none that is well-formed
    came: str = ""
    #: the route's template, never the path: a path may hold a customer's id
    route: str | None = None
    tenant: str | None = None
    payment_id: str | None = None
    #: response headers that tell what is left of the caller's quota
    quota: Mapping[str, str] = field(default_factory=dict)


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> Trace:
    """Return the request's trace: the caller's own ids, or new ones where it sent none, two or malformed ones."""
    ids: list[bytes] = []
    parents: list[bytes] = []
    for name, value in headers:
        if name == b"x-request-id":
            ids.append(value)
        elif name == b"traceparent":
            parents.append(value)
    new = token_bytes(36).hex()  # one call of the system for all that may be needed
    request_id = ids[0].decode() if len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]) else f"req_{new[:24]}"
    parent = _TRACEPARENT.fullmatch(parents[0][:55]) if len(parents) == 1 and _length_fits(parents[0]) else None
    if parent is None:
        trace_id = new[24:56]
        return Trace(request_id, f"00-{trace_id}-{new[56:]}-00", trace_id)
    return Trace(request_id, parent[0].decode(), parent[1].decode(), parent[0].decode())


def _length_fits(traceparent: bytes) -> bool:
    """Version 00 has 55 characters; a later one may go on after a dash, and is read as far as we know it."""
    return len(traceparent) == 55 or (traceparent[:2] != b"00" and traceparent[55:56] == b"-")
