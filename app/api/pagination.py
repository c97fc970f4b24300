"""Where does a page begin? After the entry in the cursor, which is opaque to the caller."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

from paidonce.app.api.problems import InvalidParameterError, MemberError

#: Stands first in every cursor; another form of it gets another mark.
_MARK = b"\x01"
#: How 17 bytes that begin with the mark look in base64url.
CURSOR = "^A[Q-Za-f][A-Za-z0-9_-]{20}[AEIMQUYcgkosw048]$"


def encode(last: UUID) -> str:
    """Return the cursor of the page after the entry `last`."""
    return base64.urlsafe_b64encode(_MARK + last.bytes).decode().rstrip("=")


def decode(cursor: str | None) -> UUID | None:
    """Return the entry that a page comes after; raises InvalidParameterError for a cursor that is not ours."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error
    if len(raw) != 17 or raw[:1] != _MARK or encode(UUID(bytes=raw[1:])) != cursor:
        raise _not_ours()
    return UUID(bytes=raw[1:])


def _not_ours() -> InvalidParameterError:
    return InvalidParameterError([MemberError(pointer="?cursor", detail="is not a cursor of this list")])


class Entry(Protocol):
    """Anything that is listed by its id."""

    @property
    def id(self) -> UUID:
        """Return its UUIDv7, by which lists are ordered."""


Listed = TypeVar("Listed", bound=Entry)


def page(entries: Sequence[Listed], limit: int, document: Callable[[Listed], dict[str, Any]]) -> dict[str, Any]:
    """Return the page of up to `limit` entries; one more than that was asked of the database."""
    shown = entries[:limit]
    more = len(entries) > limit
    return {"data": [document(entry) for entry in shown], "next_cursor": encode(shown[-1].id) if more else None}
