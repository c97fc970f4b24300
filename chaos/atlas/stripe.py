"""Where are the steps of Stripe's adapter struck? In a second installation, with a simulator of its own.

The stack has one provider, which speaks the contract. Here the simulator speaks as Stripe does: a 500 is kept under the
key, so one payment is sent, looked up, and refunded. However often that was struck, it is charged and refunded once.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import Engine

from paidonce.app.clock import SystemClock, new_id
from paidonce.app.db import begin
from paidonce.app.payments import charging, refunds, store
from paidonce.app.payments.model import Payment
from paidonce.chaos import witnesses
from paidonce.chaos.atlas.errand import ErrandError, wait
from paidonce.chaos.atlas.ground import Ground
from paidonce.chaos.atlas.operator import NOBODY
from paidonce.chaos.atlas.shadow import Shadow, installed, working
from paidonce.devstack.ports import LOOPBACK, free_port

DATABASE, NAMES, JOURNAL = "atlas_stripe", "atlas-stripe", "stripe.sqlite"
#: Charged, and answered with a 500.
METHOD, AMOUNT, CURRENCY = "pm_500_after", 1_000, "EUR"
#: Seconds until a payment has got over a strike: a start, a lease, a look-up, on a busy machine.
FINAL_S = 40.0


def pay(ground: Ground) -> None:
    """A payment is captured by way of a look-up, and refunded: once each."""
    journal = ground.stack.run.folder / JOURNAL
    with installed(ground, DATABASE, NAMES) as shadow, _simulator(ground, journal) as told:
        paying = replace(shadow, more={**shadow.more, **told})
        payment_id = _charge(shadow.bind)
        with working(ground, paying, "effects") as is_up:
            _until(shadow, payment_id, "captured", is_up)
            _refund(shadow.bind, payment_id)
            _until(shadow, payment_id, "refunded", is_up)
    check_once(journal)


def check_once(journal: Path) -> None:
    """Raise ErrandError if something of one reference is there twice."""
    said = witnesses.journal(journal)
    for kind in ("charges", "provider_refunds"):
        counts = Counter(one.reference for one in said[kind])
        if twice := [reference for reference, count in counts.items() if count > 1]:
            raise ErrandError(f"Stripe's simulator has two {kind} of {', '.join(twice)}")


def _charge(bind: Engine) -> UUID:
    now = SystemClock().now()
    payment = Payment(
        id=new_id(),
        tenant=NOBODY,
        amount=AMOUNT,
        currency=CURRENCY,
        payment_method=METHOD,
        created_at=now,
        updated_at=now,
    )
    with begin(bind) as tx:
        store.add(tx, payment)
        charging.start_charge(tx, payment.id)
    return payment.id


def _refund(bind: Engine, payment_id: UUID) -> None:
    with begin(bind) as tx:
        refund = refunds.add(tx, store.lock(tx, payment_id), AMOUNT, None)
        charging.start_refund(tx, refund.id)


def _until(shadow: Shadow, payment_id: UUID, status: str, is_up: Callable[[], bool]) -> None:
    def is_so() -> bool:
        is_up()
        with shadow.bind.connect() as tx:
            payment = store.get(tx, NOBODY, payment_id)
        return payment is not None and payment.status == status

    wait(is_so, f"the payment at Stripe is {status}", within_s=FINAL_S)


@contextmanager
def _simulator(ground: Ground, journal: Path) -> Iterator[Mapping[str, str]]:
    """Run the provider's simulator in Stripe's dialect, over that journal; yields what a worker is told of it."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    told = {"PAIDONCE_PROVIDER": "stripe", "PAIDONCE_STRIPE_URL": url}
    own = {"PAIDONCE_SIMULATOR_PORT": str(port), "PAIDONCE_SIMULATOR_JOURNAL": str(journal)}
    command = [sys.executable, "-m", "paidonce.cli", "provider"]
    with (ground.stack.run.folder / "logs" / "shadow-stripe.log").open("ab") as output:
        running = subprocess.Popen(
            command, env=ground.environment({**told, **own}), cwd=journal.parent, stdout=output, stderr=output
        )
    try:
        wait(lambda: _answers(url), "Stripe's simulator answers")
        yield told
    finally:
        running.terminate()
        running.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1.0, trust_env=False).is_success
    except httpx.TransportError:
        return False
