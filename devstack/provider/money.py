"""Which charge or refund comes of a request? Reads and writes the journal, decides nothing about faults."""

import hashlib
import random
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from paidonce.app.clock import Clock
from paidonce.devstack.provider.journal import Journal, Kind
from paidonce.devstack.provider.options import Options

_Text = Annotated[str, Field(min_length=1, max_length=255)]
#: What fits into a signed 64-bit integer of minor units.
_Amount = Annotated[int, Field(gt=0, lt=2**63)]


class ChargeRequest(BaseModel):
    """The body of `POST /v1/charges`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    amount: _Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    payment_method: _Text
    reference: _Text


class RefundRequest(BaseModel):
    """The body of `POST /v1/refunds`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    charge: _Text
    amount: _Amount
    reference: _Text


class Money:
    """Makes the objects; every change is committed with its key and its webhook, or not at all."""

    def __init__(self, journal: Journal, options: Options, clock: Clock) -> None:
        self._journal, self._options, self._clock = journal, options, clock

    def charge(
        self, request: ChargeRequest, *, call: int, key: str, fingerprint: str, refusal: str | None
    ) -> Mapping[str, Any]:
        """Charge, or decline with the code `refusal`; return the new object."""
        document = {
            "id": f"ch_{secrets.token_hex(12)}",
            "object": "charge",
            "status": "declined" if refusal else "captured",
            "decline_code": refusal,
            "amount": request.amount,
            "currency": request.currency,
            "reference": request.reference,
        }
        now = self._clock.now().timestamp()
        with self._journal.together():
            self._journal.add_charge(document, at=now, call=call, key=key, payment_method=request.payment_method)
            self._after("charge", document, key, fingerprint, now)
        return document

    def refund(
        self, request: RefundRequest, *, call: int, key: str, fingerprint: str, refusal: str | None
    ) -> Mapping[str, Any]:
        """Refund, or fail with the code `refusal`, or because more than was captured would go back."""
        now = self._clock.now().timestamp()
        with self._journal.together():
            refusal = refusal or self._too_much(request)
            document = {
                "id": f"re_{secrets.token_hex(12)}",
                "object": "refund",
                "status": "failed" if refusal else "succeeded",
                "failure_code": refusal,
                "charge": request.charge,
                "amount": request.amount,
                "reference": request.reference,
            }
            self._journal.add_refund(document, at=now, call=call, key=key)
            self._after("refund", document, key, fingerprint, now)
        return document

    def _too_much(self, request: RefundRequest) -> str | None:
        found = self._journal.charge(request.charge)
        if found is None or found[0]["status"] != "captured":
            return "charge_not_captured"
        left = found[0]["amount"] - self._journal.refunded(request.charge)
        return "amount_exceeds_charge" if request.amount > left else None

    def _after(self, kind: Kind, document: Mapping[str, Any], key: str, fingerprint: str, now: float) -> None:
        if self._options.honours_keys:
            self._journal.remember(key, fingerprint, orjson.dumps(document), at=now)
        if self._options.sends_webhooks:
            body = {
                "type": f"{kind}.{document['status']}",
                "timestamp": self._clock.now().isoformat(),
                "data": document,
            }
            dice = random.Random(f"{self._options.seed}:webhook:{document['reference']}")  # noqa: S311  not a secret
            wait_s = dice.uniform(0, self._options.webhook_delay_s)
            self._journal.add_delivery(
                f"msg_{secrets.token_hex(12)}",
                orjson.dumps(body),
                copies=self._options.webhook_copies,
                due=now + wait_s,
            )


def fingerprint(path: str, body: bytes) -> str:
    """Return what tells one request from another under the same key."""
    return hashlib.sha256(path.encode() + b"\0" + body).hexdigest()
