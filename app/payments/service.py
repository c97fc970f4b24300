"""What can a merchant do to a payment? Create, cancel and refund it, each once for its key."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.clock import Clock, new_id
from paidonce.app.documents import as_json
from paidonce.app.errors import CustomerUnknownError, NotCancelableError, NotRefundableError, RefundLimitError
from paidonce.app.idempotency.guard import Guard, Stored
from paidonce.app.idempotency.store import Claim, Response
from paidonce.app.messaging import outbox
from paidonce.app.messaging.envelope import Event
from paidonce.app.payments import refunds, store
from paidonce.app.payments.accepting import Accepting
from paidonce.app.payments.events import payment_event
from paidonce.app.payments.model import Payment, payment_document, refund_document
from paidonce.app.payments.store import Wanted
from paidonce.app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentDraft:
    """What a merchant asks for; validated."""

    amount: int
    currency: str
    payment_method: str
    customer_id: str | None = None
    reference: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Payments:
    """The three requests that move money. `headers` go into the event (`traceparent`)."""

    def __init__(self, guard: Guard, accepting: Accepting, clock: Clock, settings: Settings) -> None:
        self._guard = guard
        self._accepting = accepting
        self._clock = clock
        self._settings = settings

    async def create(self, claim: Claim, draft: PaymentDraft, headers: Mapping[str, str]) -> Stored:
        """Accept a payment: 201 with the pending payment.

        Raises:
            CustomerUnknownError: `customer_id` is nobody's.
            Problem: what Guard.run raises.
        """
        now = self._clock.now()
        payment = Payment(
            id=new_id(),
            tenant=claim.tenant,
            amount=draft.amount,
            currency=draft.currency,
            payment_method=draft.payment_method,
            customer_id=draft.customer_id,
            reference=draft.reference,
            description=draft.description,
            metadata=draft.metadata,
            created_at=now,
            updated_at=now,
        )
        document = payment_document(payment)
        response = Response(201, as_json(document), payment_headers(payment), str(payment.id))
        event = payment_event("payment.accepted", payment, now, document=document, headers=headers)
        outbox.check_size(event, self._settings.message_bytes_max)

        wanted = Wanted(payment, event, claim, response)

        async def attempt(lock_wait_ms: int) -> Response | None:
            if lock_wait_ms == self._settings.idempotency_first_wait_ms:
                accepted = await self._accepting.accept(wanted)
            else:
                accepted = await self._accepting.accept_patiently(wanted, lock_wait_ms)
            if not accepted.customer_known and await self._guard.find(claim) is None:
                raise CustomerUnknownError
            return response if accepted.claimed else None

        return await self._guard.run(claim, attempt)

    async def cancel(self, claim: Claim, payment_id: UUID, headers: Mapping[str, str]) -> Stored:
        """Cancel a payment that is still pending: 200.

        Raises:
            NotFoundError: the tenant has no such payment.
            NotCancelableError: it is pending no longer.
            Problem: what Guard.once raises.
        """

        def work(tx: Connection) -> Response:
            payment = store.lock(tx, payment_id, claim.tenant)
            if not payment.may_become("canceled"):
                raise NotCancelableError(f"the payment is {payment.status}")
            payment = store.save(tx, replace(payment, status="canceled"))
            self._tell(tx, payment_event("payment.canceled", payment, payment.updated_at, headers=headers))
            return Response(200, as_json(payment_document(payment)), payment_headers(payment), str(payment.id))

        return await self._guard.once(claim, work)

    async def refund(
        self,
        claim: Claim,
        payment_id: UUID,
        amount: int | None,
        reason: str | None,
        headers: Mapping[str, str],
        *,
        limit: int,
    ) -> Stored:
        """Ask for `amount` of a captured payment back (None: all that is left): 201 with the pending refund.

        All refunds of the payment may add up to `limit` with this one, so that a large one is not made of small ones.

        Raises:
            NotFoundError: the tenant has no such payment.
            NotRefundableError: it is not captured, or less than that is left of it.
            RefundLimitError: they would add up to more than `limit`.
            Problem: what Guard.once raises.
        """

        def work(tx: Connection) -> Response:
            payment = store.lock(tx, payment_id, claim.tenant)
            left = payment.amount - refunds.reserved(tx, payment_id)
            if payment.status != "captured" or left == 0 or (amount or 0) > left:
                raise NotRefundableError(f"the payment is {payment.status}, and {left} is left to refund")
            wanted = amount or left
            if payment.amount - left + wanted > limit:
                raise RefundLimitError
            payment = store.save(tx, payment)
            refund = refunds.add(tx, payment, wanted, reason)
            self._tell(
                tx, payment_event("payment.refund_requested", payment, payment.updated_at, refund, headers=headers)
            )
            location = {"location": f"/v1/payments/{payment_id}/refunds/{refund.id}"}
            return Response(201, as_json(refund_document(refund)), location, str(refund.id))

        return await self._guard.once(claim, work)

    def _tell(self, tx: Connection, event: Event) -> None:
        outbox.append(tx, event, bytes_max=self._settings.message_bytes_max)


def payment_headers(payment: Payment) -> dict[str, str]:
    """Return `location` and `etag` of a payment."""
    return {"location": f"/v1/payments/{payment.id}", "etag": f'"{payment.version}"'}
