"""Is this an Idempotency-Key? A bare token or a quoted structured-field string: both spell the same key.

Source: draft-ietf-httpapi-idempotency-key-header-07, section 2.1, whose key is a structured-field
String (RFC 9651, section 3.3.3); clients in the field send it bare.
"""

import re
from collections.abc import Sequence

from paidonce.app.errors import IdempotencyKeyMalformedError, IdempotencyKeyMissingError

#: Characters; an index row of PostgreSQL takes 2,704 bytes, of which tenant and endpoint need some.
KEY_LENGTH_MAX = 255

_BARE = re.compile(r'[!#-~][!-~]{0,254}')  # fmt: skip
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"')


def parse_key(lines: Sequence[str]) -> str:
    """Return the key of a request's Idempotency-Key header lines.

    Raises:
        IdempotencyKeyMissingError: there is no such line, or it is empty.
        IdempotencyKeyMalformedError: more than one line, not visible ASCII, or not 1 to 255 characters.
    """
    if not lines or lines == [""]:
        raise IdempotencyKeyMissingError
    if len(lines) > 1:
        raise IdempotencyKeyMalformedError("there is more than one Idempotency-Key header; send one")
    line = lines[0].strip(" \t")
    if not line or line == '""':
        raise IdempotencyKeyMissingError
    quoted = _QUOTED.fullmatch(line)
    key = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else line
    if len(key) > KEY_LENGTH_MAX or not (quoted or _BARE.fullmatch(line)):
        raise IdempotencyKeyMalformedError
    return key
