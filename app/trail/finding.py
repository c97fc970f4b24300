"""Which payment is meant? By its id, a refund's, a message's, an Idempotency-Key, or the merchant's reference."""

from collections.abc import Iterator
from typing import Literal
from uuid import UUID

import orjson
from sqlalchemy import Connection

from paidonce.app.idempotency import store as keys
from paidonce.app.messaging import effects, outbox
from paidonce.app.messaging.topics import PAYMENT
from paidonce.app.payments import refunds, store
from paidonce.app.trail.model import Found

#: Payments that one text may lead to: references need not be unique.
MOST = 50
#: No key and no reference is longer.
CHARS_MAX = 255


def find(tx: Connection, text: str) -> list[Found]:
    """Return the payments that `text` leads to, whosever they are, each once; for an operator, not for callers."""
    text = text.strip()
    if not text or len(text) > CHARS_MAX or "\0" in text:
        return []
    found: dict[UUID, Found] = {}
    for one in _found(tx, text):
        found.setdefault(one.payment_id, one)
    return list(found.values())


def _found(tx: Connection, text: str) -> Iterator[Found]:
    id_ = _uuid(text)
    if id_ is not None:
        yield from _known(tx, id_, "payment")
        yield from _known(tx, refunds.payment_of(tx, id_), "refund")
        yield from _known(tx, _of_message(tx, id_), "message_id")
    for _, made in keys.by_key(tx, text, most=MOST):
        yield from _of_resource(tx, made)
    for payment in store.by_reference(tx, text, most=MOST):
        yield Found(tenant=payment.tenant, payment_id=payment.id, why="reference")


def _of_resource(tx: Connection, made: str) -> Iterator[Found]:
    id_ = _uuid(made)
    if id_ is not None:
        yield from _known(tx, id_, "idempotency_key")
        yield from _known(tx, refunds.payment_of(tx, id_), "idempotency_key")


def _of_message(tx: Connection, message_id: UUID) -> UUID | None:
    """Return the payment that a message is about: from the outbox, or, when that has it no longer, from its webhook."""
    about = outbox.aggregate_of(tx, message_id)
    if about is not None:
        return _uuid(about[1]) if about[0] == PAYMENT else None
    webhook = effects.request_of(tx, kind="webhook", subject=str(message_id))
    return None if webhook is None else _uuid(str(orjson.loads(webhook)["data"]["payment"]["id"]))


def _known(
    tx: Connection, payment_id: UUID | None, why: Literal["payment", "refund", "idempotency_key", "message_id"]
) -> Iterator[Found]:
    payment = None if payment_id is None else store.get_any(tx, payment_id)
    if payment is not None:
        yield Found(tenant=payment.tenant, payment_id=payment.id, why=why)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
