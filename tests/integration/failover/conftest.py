"""What the tests of outages share: a client that goes on paying."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest

from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until


@dataclass
class Payer:
    """A client that sends payments at a steady pace, each once, and keeps every answer's status."""

    stack: Stack
    per_s: float
    answers: list[int] = field(default_factory=list)

    @contextmanager
    def paying(self) -> Iterator["Payer"]:
        """Pay, from a thread of its own, while the block lasts."""
        stop = threading.Event()
        thread = threading.Thread(target=self._pay, args=[stop], daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def for_s(self, seconds: float) -> None:
        """Go on for that long at least, measured in answered payments."""
        wanted = len(self.answers) + round(seconds * self.per_s)
        until(lambda: len(self.answers) >= wanted, within_s=30 + 3 * seconds, what=f"{wanted} answers in all")

    def _pay(self, stop: threading.Event) -> None:
        headers = {"Authorization": f"Bearer {self.stack.token(ttl=3600)}"}
        body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}
        url = self.stack.addresses.api + "/v1/payments"
        with httpx.Client(trust_env=False, timeout=10.0, headers=headers) as client:
            while not stop.wait(1 / self.per_s):
                answer = client.post(url, json=body, headers={"Idempotency-Key": str(uuid4())})
                self.answers.append(answer.status_code)


@pytest.fixture(scope="package")
def payer_of() -> Callable[..., Payer]:
    """Makes a payer for a stack."""
    return Payer
