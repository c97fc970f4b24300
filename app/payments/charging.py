"""How does a payment get from pending to its end? What charges it, and what settles it.

Plain functions in the caller's transaction. A result comes from the provider's reply, its
webhook or a look-up, whichever is first; all three call the same function, and the payment's
state under its lock makes the later ones nothing (docs/design.md, "Effects").
"""

from dataclasses import replace
from uuid import UUID

import structlog
from sqlalchemy import Connection

from paidonce.app.errors import NotFoundError
from paidonce.app.messaging import dead_letters, effects, outbox
from paidonce.app.messaging.outcomes import Done, Outcome, Poison
from paidonce.app.payments import refunds, store
from paidonce.app.payments.events import EventType, payment_event
from paidonce.app.payments.model import Payment, Refund
from paidonce.app.payments.provider import ProviderCharge, ProviderRefund, charge_request, refund_request
from paidonce.app.settings import settings

log = structlog.get_logger(__name__)

#: Under this consumer's name the operator finds what the provider says and no payment can take.
ALARMS = "provider-alarms"


def start_charge(tx: Connection, payment_id: UUID) -> Outcome:
    """Make the charge of a pending payment an effect; nothing when it was canceled or is on its way."""
    try:
        payment = store.lock(tx, payment_id)
    except NotFoundError:
        return Poison(f"there is no payment {payment_id}")
    if payment.may_become("charging"):
        store.save(tx, replace(payment, status="charging"))
        request = charge_request(payment)
        effects.create(tx, kind="charge", subject=str(payment.id), tenant=payment.tenant, request=request)
    return Done()


def start_refund(tx: Connection, refund_id: UUID) -> Outcome:
    """Make a pending refund an effect; nothing when it is on its way."""
    try:
        payment, refund = refunds.lock(tx, refund_id)
    except NotFoundError:
        return Poison(f"there is no refund {refund_id}")
    if refund.may_become("refunding"):
        assert payment.provider_charge_id is not None, "only a captured payment has refunds"
        refunds.save(tx, replace(refund, status="refunding", updated_at=payment.updated_at))
        request = refund_request(refund, payment.provider_charge_id)
        effects.create(tx, kind="refund", subject=str(refund.id), tenant=refund.tenant, request=request)
    return Done()


def settle_charge(tx: Connection, charge: ProviderCharge) -> None:
    """Let the payment be what the provider says of its charge, once; alarm where that cannot be.

    Raises NotFoundError when the reference is no payment's.
    """
    payment = store.lock(tx, UUID(charge.reference))
    known = charge.id == payment.provider_charge_id and _same_money(payment, charge)
    if known and (charge.status == "declined") == (payment.status == "declined"):
        return
    if not payment.may_become(charge.status) or not _same_money(payment, charge):
        _alarm(tx, payment, charge)
        return
    payment = store.save(
        tx,
        replace(payment, status=charge.status, provider_charge_id=charge.id, decline_code=charge.decline_code),
    )
    _tell(tx, "payment.captured" if charge.status == "captured" else "payment.declined", payment)


def reject_charge(tx: Connection, payment_id: UUID, code: str) -> None:
    """Decline a payment for which the provider definitely holds no charge."""
    payment = store.lock(tx, payment_id)
    if payment.may_become("declined"):
        _tell(tx, "payment.declined", store.save(tx, replace(payment, status="declined", decline_code=code)))


def settle_refund(tx: Connection, refund: ProviderRefund) -> None:
    """Let our refund be what the provider says of it, once; alarm where that cannot be.

    Raises NotFoundError when the reference is no refund's.
    """
    payment, ours = refunds.lock(tx, UUID(refund.reference))
    if (refund.id, refund.status, refund.amount) == (ours.provider_refund_id, ours.status, ours.amount):
        return
    if not ours.may_become(refund.status) or refund.amount != ours.amount:
        _alarm(tx, payment, refund)
        return
    ours = replace(
        ours,
        status=refund.status,
        provider_refund_id=refund.id,
        failure_code=refund.failure_code,
        updated_at=payment.updated_at,
    )
    _end_refund(tx, payment, ours)


def reject_refund(tx: Connection, refund_id: UUID, code: str) -> None:
    """Fail a refund of which the provider definitely holds nothing."""
    payment, ours = refunds.lock(tx, refund_id)
    if ours.may_become("failed"):
        _end_refund(tx, payment, replace(ours, status="failed", failure_code=code, updated_at=payment.updated_at))


def _end_refund(tx: Connection, payment: Payment, refund: Refund) -> None:
    refunds.save(tx, refund)
    if refund.status == "failed":
        _tell(tx, "payment.refund_failed", store.save(tx, payment), refund)
        return
    refunded = payment.amount_refunded + refund.amount
    status = "refunded" if refunded == payment.amount else payment.status
    payment = store.save(tx, replace(payment, amount_refunded=refunded, status=status))
    _tell(tx, "payment.refunded", payment, refund)


def _same_money(payment: Payment, charge: ProviderCharge) -> bool:
    return (payment.amount, payment.currency) == (charge.amount, charge.currency)


def _tell(tx: Connection, type_: EventType, payment: Payment, refund: Refund | None = None) -> None:
    event = payment_event(type_, payment, payment.updated_at, refund)
    outbox.append(tx, event, bytes_max=settings().message_bytes_max)


def _alarm(tx: Connection, payment: Payment, said: ProviderCharge | ProviderRefund) -> None:
    """Record what the provider says and the payment cannot take: money may have moved, so a person decides."""
    reason = f"the provider says {said.status} ({said.amount}) of a payment that is {payment.status} ({payment.amount})"
    log.error("provider_disagrees", payment_id=str(payment.id), provider_id=said.id, reason=reason)
    dead_letters.add(
        tx,
        consumer=ALARMS,
        message_id=said.id,
        key=str(payment.id),
        envelope={"payment_status": payment.status},
        value=said.model_dump_json().encode(),
        reason=reason,
    )
