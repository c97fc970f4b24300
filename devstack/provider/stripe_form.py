"""What do Stripe's requests, objects, events and signatures look like? Pure forms, without Stripe's own package."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from paidonce.devstack.provider.calls import Stop

#: The metadata's member that bears our reference: the dialect's journal is kept by it.
REFERENCE = "paidonce_reference"

_AMOUNT = re.compile(r"[1-9][0-9]{0,17}")
_INTENT = frozenset(
    {"amount", "currency", "payment_method", "capture_method", "confirm", "error_on_requires_action"}
    | {"allowed_payment_method_types[0]", f"metadata[{REFERENCE}]"}
)
_REFUND = frozenset({"payment_intent", "amount", f"metadata[{REFERENCE}]"})


def invalid(code: str, status: int = 400) -> Stop:
    """Return the refusal of a request that is wrong."""
    return Stop(status, code, type_="invalid_request_error")


def charge_wanted(body: bytes) -> dict[str, Any]:
    """Return the contract's charge request that the form stands for; raises Stop."""
    form = _form(body, _INTENT)
    wanted = {"confirm": "true", "capture_method": "automatic", "allowed_payment_method_types[0]": "card"}
    if any(form.get(name) != value for name, value in wanted.items()) or not re.fullmatch("[a-z]{3}", form["currency"]):
        raise invalid("parameter_invalid")
    return {
        "amount": _amount(form),
        "currency": form["currency"].upper(),
        "payment_method": form["payment_method"],
        "reference": form[f"metadata[{REFERENCE}]"],
    }


def refund_wanted(body: bytes) -> dict[str, Any]:
    """Return the contract's refund request that the form stands for; raises Stop."""
    form = _form(body, _REFUND)
    reference = form[f"metadata[{REFERENCE}]"]
    return {"charge": form["payment_intent"], "amount": _amount(form), "reference": reference}


def intent(charge: Mapping[str, Any]) -> dict[str, Any]:
    """Return the PaymentIntent that a charge of the journal is."""
    captured = charge["status"] == "captured"
    failure = {"type": "card_error", "code": "card_declined", "decline_code": charge["decline_code"]}
    return {
        "id": charge["id"],
        "object": "payment_intent",
        "amount": charge["amount"],
        "amount_received": charge["amount"] if captured else 0,
        "created": charge["created"],
        "currency": charge["currency"].lower(),
        "last_payment_error": None if captured else failure,
        "livemode": False,
        "metadata": {REFERENCE: charge["reference"]},
        "status": "succeeded" if captured else "requires_payment_method",
    }


def refund(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Refund that a refund of the journal is."""
    return {
        "id": made["id"],
        "object": "refund",
        "amount": made["amount"],
        "created": made["created"],
        "failure_reason": made["failure_code"],
        "metadata": {REFERENCE: made["reference"]},
        "payment_intent": made["charge"],
        "status": made["status"],
    }


def event(type_: str, document: Mapping[str, Any], created: int) -> tuple[str, bytes]:
    """Return a new event's id and body."""
    id_ = f"evt_{secrets.token_hex(12)}"
    body = {"id": id_, "object": "event", "type": type_, "created": created, "data": {"object": document}}
    return id_, orjson.dumps(body)


def sign(secret: str, _webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the header that signs `body`."""
    moment = str(int(at.timestamp()))
    signature = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={moment},v1={signature}"}


def error(type_: str, code: str, **more: Any) -> dict[str, Any]:
    """Return an error's document."""
    return {"error": {"type": type_, "code": code, "message": f"The simulator says {code}.", **more}}


def _form(body: bytes, names: frozenset[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), strict_parsing=True)
    except ValueError as wrong:
        raise invalid("parameter_invalid") from wrong
    form = dict(pairs)
    if len(form) < len(pairs) or not form.keys() <= names:
        raise invalid("parameter_unknown")
    required = names - {"error_on_requires_action"}
    if not required <= form.keys():
        raise invalid("parameter_missing")
    return form


def _amount(form: Mapping[str, str]) -> int:
    if not _AMOUNT.fullmatch(form["amount"]):
        raise invalid("parameter_invalid_integer")
    return int(form["amount"])
