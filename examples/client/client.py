"""What does a careful client do? It saves what it wants with a key, and asks until the answer is clear.

Every public method answers with an `Outcome`, whatever the network does.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from .intents import Intent, Intents
from .outcome import Ok, Outcome, Refused, Unknown
from .patience import Patience, Waiting, retry_after_s
from .tokens import Tokens
from .wire import is_about_the_caller, send, understood

#: How long an intent is asked for: the API keeps its answers longer (72 h), and forgets a key only after a month more.
HORIZON = timedelta(hours=48)
#: Times that a change is made anew after somebody else's: more means that two programs undo each other's work.
CHANGES_MOST = 8

Document = Mapping[str, Any]


class Client:
    """A client of the Paidonce API. `http` has the API as `base_url`, and a timeout."""

    def __init__(
        self, http: httpx.Client, tokens: Tokens, intents: Intents, *, patience: Patience | None = None
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._intents = intents
        self._patience = patience or Patience()

    def pay(self, name: str, *, amount: int, currency: str, payment_method: str, **more: Any) -> Outcome:
        """Make the payment of the intent `name` (the order's number), once, however often this is called.

        `amount` is in minor units; `more` are the other members of a payment. Raises ChangedIntentError.
        """
        body = {"amount": amount, "currency": currency, "payment_method": payment_method, **more}
        return self._once(name, "/v1/payments", body)

    def cancel(self, name: str, payment_id: str) -> Outcome:
        """Cancel a payment that is still pending; raises ChangedIntentError."""
        return self._once(name, f"/v1/payments/{payment_id}/cancel", {})

    def refund(self, name: str, payment_id: str, *, amount: int | None = None, reason: str | None = None) -> Outcome:
        """Give money back, all that is left without an amount; raises ChangedIntentError."""
        body = {"amount": amount, "reason": reason}
        return self._once(
            name,
            f"/v1/payments/{payment_id}/refunds",
            {member: value for member, value in body.items() if value is not None},
        )

    def resume(self) -> dict[str, Outcome]:
        """Ask for every intent that is open: at the start of the process, and now and then; by name, what came."""
        return {intent.name: self._insist(intent, maybe_done=True) for intent in self._intents.open()}

    def get(self, path: str) -> Outcome:
        """Read a resource, such as `/v1/payments/<id>`."""
        return self._read(path, self._patience.begin())

    def change(self, path: str, wanted: Callable[[Document], Document]) -> Outcome:
        """Read, change, write; and all of it anew when somebody else has written in between (412).

        `wanted` is given the resource as it is, and returns a merge patch (RFC 7396) of what is to be different; an
        empty one when nothing is. So a change whose answer was lost is found done when it is read again.
        """
        waiting = self._patience.begin()
        for _ in range(CHANGES_MOST):
            read = self._read(path, waiting)
            if not isinstance(read, Ok) or read.etag is None:
                return read
            patch = wanted(read.document)
            if not patch:
                return read
            headers = {"If-Match": read.etag, "Content-Type": "application/merge-patch+json"}
            answer = send(self._http, self._tokens, "PATCH", path, headers=headers, body=json.dumps(patch))
            changed = understood(answer)
            if isinstance(changed, Ok) or (changed is not None and changed.status != httpx.codes.PRECONDITION_FAILED):
                return changed
            if changed is None and not waiting.again(_asked_for_s(answer)):
                return Unknown("no clear answer to the change in time")
        return Unknown(f"somebody else changed it {CHANGES_MOST} times in between")

    def _once(self, name: str, path: str, body: Document) -> Outcome:
        intent, new = self._intents.save(name, path, body)
        return intent.outcome or self._insist(intent, maybe_done=not new)

    def _insist(self, intent: Intent, *, maybe_done: bool) -> Outcome:
        """Send it until the answer is clear. `maybe_done`: an earlier attempt may have got through."""
        if datetime.now(UTC) - intent.created_at > HORIZON:
            return Unknown("too old to be sent again: look it up, and never pay it under another key before")
        headers = {"Idempotency-Key": intent.key, "Content-Type": "application/json"}
        waiting = self._patience.begin()
        while True:
            answer = send(self._http, self._tokens, "POST", intent.path, headers=headers, body=intent.body)
            outcome = understood(answer)
            if outcome is not None:
                return self._end(intent, outcome, maybe_done=maybe_done)
            maybe_done = maybe_done or answer is None or answer.is_server_error
            if not waiting.again(_asked_for_s(answer)):
                return Unknown(f"no clear answer in time; the last was {_told(answer)}")

    def _end(self, intent: Intent, outcome: Ok | Refused, *, maybe_done: bool) -> Outcome:
        if isinstance(outcome, Refused):
            if outcome.code == "idempotency-key-expired":
                return Unknown("it was answered, too long ago for the answer to be kept: look it up")
            if is_about_the_caller(outcome):
                # It stays open. That this attempt was turned away says nothing of the one before.
                return Unknown(f"turned away: {outcome.code}") if maybe_done else outcome
        self._intents.settle(intent, outcome)
        return outcome

    def _read(self, path: str, waiting: Waiting) -> Outcome:
        while True:
            answer = send(self._http, self._tokens, "GET", path, headers={}, body=None)
            outcome = understood(answer)
            if outcome is not None:
                return outcome
            if not waiting.again(_asked_for_s(answer)):
                return Unknown(f"it could not be read; the last answer was {_told(answer)}")


def _asked_for_s(answer: httpx.Response | None) -> float:
    return 0.0 if answer is None else retry_after_s(answer.headers.get("Retry-After"))


def _told(answer: httpx.Response | None) -> str:
    return "none" if answer is None else str(answer.status_code)
