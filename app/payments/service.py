"""What can a merchant do to a payment? Create it, pay a cart, cancel and refund it, each once for its key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Connection

from paidonce.app.clock import Clock, new_id
from paidonce.app.documents import as_json
from paidonce.app.errors import (
    CartPaidError,
    CustomerUnknownError,
    NotCancelableError,
    NotRefundableError,
    Problem,
    RefundLimitError,
)
from paidonce.app.idempotency.guard import Guard, Stored
from paidonce.app.idempotency.store import Claim, Response
from paidonce.app.messaging import outbox
from paidonce.app.messaging.envelope import Event
from paidonce.app.payments import checkouts, refunds, store
from paidonce.app.payments.accepting import Accepting
from paidonce.app.payments.checkouts import CartVersion, Checkout
from paidonce.app.payments.events import payment_event
from paidonce.app.payments.model import Payment, payment_document, refund_document
from paidonce.app.payments.store import Wanted
from paidonce.app.settings import Settings

CHECKOUTS = Counter("paidonce_cart_checkouts_total", "Checkouts that `paid`, or found it done: `again`.", ["outcome"])


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
    """The four requests that move money. `headers` go into the event (`traceparent`)."""

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
        wanted = self._wanted(claim, draft, headers)

        async def attempt(lock_wait_ms: int) -> Response | None:
            if lock_wait_ms == self._settings.idempotency_first_wait_ms:
                accepted = await self._accepting.accept(wanted)
            else:
                accepted = await self._accepting.accept_patiently(wanted, lock_wait_ms)
            if not accepted.customer_known and await self._guard.find(claim) is None:
                raise CustomerUnknownError
            return wanted.response if accepted.claimed else None

        return await self._guard.run(claim, attempt)

    async def checkout(
        self,
        claim: Claim,
        cart: CartVersion,
        draft: PaymentDraft | None,
        headers: Mapping[str, str],
        *,
        absent: Problem,
        customer_known: Callable[[Connection], bool],
    ) -> Stored:
        """Pay one version of a cart: 201 with the pending payment; 200 with the payment that has paid it already.

        Without a `draft`, because the cart is not there or not known, only the latter is possible.

        Raises:
            CartPaidError: another request, with other members, has paid it already.
            CustomerUnknownError: `draft.customer_id` is nobody's.
            Problem: `absent`, when nobody has paid it and there is no draft; what Guard.once raises.
        """
        wanted = None if draft is None else self._wanted(claim, draft, headers)

        def work(tx: Connection) -> Response:
            if wanted is None or not checkouts.take(tx, cart, Checkout(wanted.payment.id, claim.request_hash)):
                return _paid_before(tx, claim, cart, absent)
            if not customer_known(tx):
                raise CustomerUnknownError
            store.add(tx, wanted.payment)
            self._tell(tx, wanted.event)
            return wanted.response

        stored = await self._guard.once(claim, work)
        if not stored.replayed:
            CHECKOUTS.labels("paid" if stored.response.status == 201 else "again").inc()
        return stored

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

    def _wanted(self, claim: Claim, draft: PaymentDraft, headers: Mapping[str, str]) -> Wanted:
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
        return Wanted(payment, event, claim, response)

    def _tell(self, tx: Connection, event: Event) -> None:
        outbox.append(tx, event, bytes_max=self._settings.message_bytes_max)


def payment_headers(payment: Payment) -> dict[str, str]:
    """Return `location` and `etag` of a payment."""
    return {"location": f"/v1/payments/{payment.id}", "etag": f'"{payment.version}"'}


def _paid_before(tx: Connection, claim: Claim, cart: CartVersion, absent: Problem) -> Response:
    found = checkouts.find(tx, cart)
    if found is None:
        raise absent
    if found.request_hash != claim.request_hash:
        raise CartPaidError(f"/v1/payments/{found.payment_id}")
    payment = store.get(tx, cart.tenant, found.payment_id)
    assert payment is not None
    return Response(200, as_json(payment_document(payment)), payment_headers(payment), str(payment.id))
