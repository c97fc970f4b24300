"""Who wrote this webhook, and was it changed on the way? Standard Webhooks, for ours and for the provider's.

The specification is https://www.standardwebhooks.com; the library computes the signature. What
comes in is parsed here, strictly: the library's own check trips over hostile headers.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from standardwebhooks import Webhook

from paidonce.app.errors import BadRequestError, ConfigurationError

PREFIX = "whsec_"
#: Bytes of a secret, by the specification.
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64

#: How old a webhook may be, and how far ahead its clock: the specification's libraries take 5 minutes.
TOLERANCE = timedelta(minutes=5)

#: Signatures that are looked at: a sender who rotates secrets sends two.
SIGNATURES_MAX = 8

# no dot, which parts id, timestamp and body in what is signed: one signature must not fit two readings
_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TIMESTAMP = re.compile(r"[0-9]{1,11}")


class WebhookSignatureError(BadRequestError):
    """The webhook is not signed as it must be."""

    code = "webhook-signature"


def check_secret(secret: str) -> None:
    """Refuse a secret that is not `whsec_` and base64 of 24 to 64 bytes; raises ValueError, without the secret."""
    try:
        decoded = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not secret.startswith(PREFIX) or not SECRET_BYTES_MIN <= len(decoded) <= SECRET_BYTES_MAX:
        message = f"a webhook secret is {PREFIX} and base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        raise ValueError(message)


def sign(secret: str, webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers that go with `body`, which is UTF-8; raises ValueError as `check_secret` does."""
    check_secret(secret)
    if not _ID.fullmatch(webhook_id):
        raise ValueError("a webhook-id is 1 to 255 letters, digits, hyphens or underscores")
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": _signature(secret, webhook_id, int(at.timestamp()), body),
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """Return the webhook-id of a webhook that whoever has `secret` signed not long ago.

    `headers` are looked up in lower case. Whatever the sender puts into them, this
    raises nothing but what follows.

    Raises:
        WebhookSignatureError: a header is missing or malformed, the time too far, or no signature fits.
        ConfigurationError: there is no usable secret on our side.
    """
    try:
        check_secret(secret)
    except ValueError as error:
        raise ConfigurationError(f"webhooks cannot be verified: {error}") from error
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(webhook_id) or not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookSignatureError("webhook-id or webhook-timestamp is missing or malformed")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        raise WebhookSignatureError("webhook-timestamp is too far from now")
    try:
        expected = _signature(secret, webhook_id, int(timestamp), body).encode()
    except UnicodeDecodeError as error:
        raise WebhookSignatureError("the body is not UTF-8") from error
    given = headers.get("webhook-signature", "").split(" ")[:SIGNATURES_MAX]
    if not any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in given):
        raise WebhookSignatureError("no signature fits")
    return webhook_id


def _signature(secret: str, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    return Webhook(secret).sign(webhook_id, datetime.fromtimestamp(timestamp_s, UTC), body.decode())
