"""Which rows speak of a payment? Each statement goes by an index and reads a bounded number of them.

They are read in the order of the path, each with a snapshot of its own: what an earlier statement
makes expected, a later one can only find, so a trail of a payment on its way has no gap that was none.
"""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, func, select

from paidonce.app.idempotency import store as keys
from paidonce.app.messaging import dead_letters, effects, inbox, outbox, parked, partitions, readers, relayed, starts
from paidonce.app.messaging.topics import PAYMENT
from paidonce.app.payments import ledger, refunds, store
from paidonce.app.settings import Settings
from paidonce.app.trail.deliveries import OURS
from paidonce.app.trail.facts import Facts
from paidonce.app.webhooks import effect_kind, endpoints

#: Of each thing a payment has, at most: a page that somebody can read, and milliseconds of reading.
MOST = 500


def read(tx: Connection, settings: Settings, payment_id: UUID, tenant: str | None) -> Facts | None:
    """Return what the database says of a payment; None when there is none, or not the `tenant`'s (None: of any)."""
    payment = store.get_any(tx, payment_id) if tenant is None else store.get(tx, tenant, payment_id)
    if payment is None:
        return None
    made = refunds.of_payment(tx, payment_id, most=MOST)
    subjects = [str(payment_id), *(str(refund.id) for refund in made)]
    used = keys.of_resources(tx, payment.tenant, subjects, most=MOST)
    events = outbox.of_aggregate(tx, PAYMENT, str(payment_id), most=MOST)
    message_ids = {event.id for event in events}
    windows = relayed.windows_of(tx, events)
    consumers = _consumers(tx, settings.topic)
    arrivals = inbox.arrivals(tx, consumers, message_ids)
    waiting = parked.of_key(tx, consumers, str(payment_id), most=MOST)
    letters = dead_letters.of_key(tx, str(payment_id), most=MOST)
    asked = effects.of_subjects(tx, _wanted(payment_id, subjects[1:], message_ids))
    history = effects.history(tx, [one.id for one in asked], most=MOST)
    booked = ledger.of_payment(tx, payment_id, most=MOST)
    letters += dead_letters.of_messages(tx, effect_kind.CONSUMER, [str(one) for one in message_ids])
    bounded = (made, used, events, waiting, letters, history, booked)
    return Facts(
        payment=payment,
        refunds=made,
        keys=used,
        events=events,
        windows=windows,
        consumers=consumers,
        arrivals=arrivals,
        parked=waiting,
        letters=letters,
        effects=asked,
        history=history,
        booked=booked,
        wished=endpoints.wished(tx, payment.tenant),
        topic=settings.topic,
        by_cdc=bool(settings.cdc_slot),
        outbox_from=min(partitions.attached(tx, "outbox"), default=date.max),
        keys_kept=timedelta(hours=settings.idempotency_money_retention_h, days=settings.idempotency_tombstone_d),
        read_at=tx.execute(select(func.clock_timestamp())).scalar_one(),
        complete=all(len(one) < MOST for one in bounded),
    )


def _consumers(tx: Connection, topic: str) -> dict[str, datetime | None]:
    """Return who reads the topic: ours, and whoever has ever held a partition of it."""
    held = {name for name, of in starts.topics(tx, topic).items() if of == topic}
    return dict.fromkeys([*OURS, *held]) | {
        name: since for name, since in readers.known(tx, topic).items() if name not in OURS
    }


def _wanted(payment_id: UUID, refund_ids: Collection[str], message_ids: Collection[UUID]) -> list[tuple[str, str]]:
    of_refunds = [("refund", one) for one in refund_ids]
    return [("charge", str(payment_id)), *of_refunds, *(("webhook", str(one)) for one in message_ids)]
