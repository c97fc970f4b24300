"""Is the caller's copy the current one? ETag, If-Match and If-None-Match (RFC 9110, sections 8.8 and 13.1)."""

import hashlib
import re
from collections.abc import Sequence

from paidonce.app.api.problems import InvalidHeaderError
from paidonce.app.errors import PreconditionFailedError, PreconditionRequiredError

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# A blank belongs to what stands before it, so that no text can be read in two ways and tried in all of them.
_LIST = re.compile(rf"[ \t]*(?:{_TAG}[ \t]*)?(?:,[ \t]*(?:{_TAG}[ \t]*)?)*")
_EACH = re.compile(_TAG)
ANY = ("*",)


def etag_of(body: bytes) -> str:
    """Return the strong ETag of a representation."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def tags(name: str, lines: Sequence[str]) -> tuple[str, ...] | None:
    """Return the entity tags of a header's lines, `("*",)` for any; None without the header.

    Raises:
        InvalidHeaderError: the header is not a list of entity tags.
    """
    if not lines:
        return None
    line = ", ".join(lines)
    if line.strip(" \t") == "*":
        return ANY
    found = tuple(_EACH.findall(line))
    if not found or not _LIST.fullmatch(line):
        raise InvalidHeaderError(f"{name} must be * or a list of quoted entity tags.")
    return found


def require_match(if_match: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the tags of a header that must be there; raises PreconditionRequiredError."""
    if if_match is None:
        raise PreconditionRequiredError
    return if_match


def check_match(if_match: tuple[str, ...] | None, etag: str | None) -> None:
    """Hold If-Match (strong comparison) against the current ETag, None where nothing is there.

    Raises:
        PreconditionFailedError: it is another.
    """
    if if_match is not None and (etag is None or (if_match != ANY and etag not in if_match)):
        raise PreconditionFailedError


def check_none_match(if_none_match: tuple[str, ...] | None, etag: str | None) -> None:
    """Hold If-None-Match of a writing method against the current ETag; raises PreconditionFailedError."""
    if matches_weakly(if_none_match, etag):
        raise PreconditionFailedError


def matches_weakly(if_none_match: tuple[str, ...] | None, etag: str | None) -> bool:
    """Tell whether one of the tags is the current one (weak comparison): then GET answers 304."""
    if if_none_match is None or etag is None:
        return False
    return if_none_match == ANY or etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in if_none_match}
