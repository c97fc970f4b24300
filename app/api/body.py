"""Is this body JSON that everyone reads alike? Media type, size, encoding and form, before any meaning.

The parser is the tokens' (app/auth/strict_json.py): no duplicate members, no NaN, bounded depth.
"""

import asyncio
import re
from typing import Any

from starlette.requests import Request

from paidonce.app.api.problems import (
    MalformedJsonError,
    PayloadTooLargeError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)
from paidonce.app.auth.strict_json import parse_object

#: Seconds that a body may take to arrive: 64 KB on a bad mobile line need 5.
BODY_WAIT_S = 10.0
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_UTF8 = re.compile(r'\s*charset\s*=\s*"?utf-8"?\s*', re.IGNORECASE)


async def read(request: Request, bytes_max: int) -> bytes:
    """Return the body's bytes, and stop reading one that is too large.

    Raises:
        PayloadTooLargeError: the body is, or says that it is, larger than `bytes_max`.
        RequestTimeoutError: it did not arrive within BODY_WAIT_S.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > bytes_max):
        raise _too_large(bytes_max)
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            return await _whole(request, bytes_max)
    except TimeoutError as error:
        raise RequestTimeoutError from error


async def _whole(request: Request, bytes_max: int) -> bytes:
    body, more = bytearray(), True
    while more:
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise MalformedJsonError("The body ended before its end.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return bytes(body)


def check_media_type(request: Request, accepted: tuple[str, ...]) -> str:
    """Return the body's media type, one of `accepted`; raises UnsupportedMediaTypeError."""
    lines = request.headers.getlist("content-type")
    if len(lines) != 1 or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaTypeError(accepted)
    media_type, _, parameters = lines[0].partition(";")
    media_type = media_type.strip().lower()
    if media_type not in accepted or (parameters.strip() and not _UTF8.fullmatch(parameters)):
        raise UnsupportedMediaTypeError(accepted)
    return media_type


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`; raises MalformedJsonError with what is wrong."""
    try:
        document = parse_object(raw)
    except UnicodeDecodeError as error:
        raise MalformedJsonError("The body is not UTF-8.") from error
    except ValueError as error:
        raise MalformedJsonError(f"The body is not one JSON object: {error}.") from error
    # Neither NUL nor a lone surrogate can stand in valid JSON other than as an escape.
    if b"\\u" in raw and not _storable(document):
        raise MalformedJsonError("A string has a NUL or a lone surrogate, which is not a Unicode character.")
    return document


def _storable(value: Any) -> bool:
    """Tell whether PostgreSQL can hold every string in `value`; its depth is bounded."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_storable(name) and _storable(member) for name, member in value.items())
    return all(map(_storable, value)) if isinstance(value, list) else True


def _too_large(bytes_max: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The body may have {bytes_max} bytes.")
