"""Is this the same request? A hash over all that makes it the one it is.

Method, concrete path, query, media type and the canonical JSON body (RFC 8785), each with its
length before it, so that no two requests run together into the same bytes.
"""

import hashlib

import orjson
import rfc8785

#: Kept with each hash: a change of the recipe must not turn every running retry into a conflict.
HASH_VERSION = 1

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def fingerprint(*, method: str, path: str, query: str, media_type: str, body: Json) -> str:
    """Return the hash as 64 hexadecimal digits; `body` is the parsed JSON, None where there is none."""
    digest = hashlib.sha256()
    for part in (method.encode(), path.encode(), query.encode(), media_type.encode(), _canonical(body)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _canonical(body: Json) -> bytes:
    """Return the body in RFC 8785's form.

    Where all of it is ASCII, and our bodies hold no floats, sorting by bytes and by UTF-16 code units are the same, and
    orjson writes the same form ten times as fast; a test holds the two against each other.
    """
    quick = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return quick if quick.isascii() else rfc8785.dumps(body)
