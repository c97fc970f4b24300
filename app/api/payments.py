"""Payments over HTTP: create, get, list, patch, cancel (docs/design.md, "The API")."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.api import examples, pagination
from paidonce.app.api.body import JSON, MERGE_PATCH
from paidonce.app.api.claims import claim_of, stored_reply
from paidonce.app.api.conditions import check_match, matches_weakly, require_match
from paidonce.app.api.merge_patch import merged
from paidonce.app.api.operation import Call, Operation, validated
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import (
    Nothing,
    Payment,
    PaymentCreate,
    PaymentMutable,
    PaymentPatch,
    Payments,
    PaymentsPage,
)
from paidonce.app.api.transactions import read, write
from paidonce.app.documents import as_json
from paidonce.app.errors import (
    CustomerUnknownError,
    IdempotencyKeyExpiredError,
    IdempotencyKeyMalformedError,
    IdempotencyKeyMissingError,
    IdempotencyKeyReusedError,
    NotCancelableError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    PreconditionRequiredError,
    RequestInProgressError,
)
from paidonce.app.payments import model, store
from paidonce.app.payments.service import PaymentDraft, payment_headers

#: What any operation with an Idempotency-Key may answer.
KEY_PROBLEMS = (
    IdempotencyKeyMissingError,
    IdempotencyKeyMalformedError,
    IdempotencyKeyReusedError,
    IdempotencyKeyExpiredError,
    RequestInProgressError,
    OutcomeUnknownError,
)
_REPLAYED = "`true` when this is the stored answer of an earlier request with the same key."
_LOCATION = "Where the new resource is."
ETAG = "Names this version of the resource; for If-Match and If-None-Match."


async def create(call: Call) -> Reply:
    """Accept a payment. It is charged in the background, at most once for its key."""
    document = await call.json()
    draft = validated(PaymentCreate, document)
    claim = claim_of(call, document)
    headers = {"traceparent": call.trace.traceparent}
    stored = await call.services.payments.create(claim, PaymentDraft(**dict(draft)), headers)
    call.trace.payment_id = stored.response.resource_id
    return stored_reply(call, stored)


async def get(call: Call) -> Reply:
    """Show a payment as it is now."""
    payment = await read(call.services.engine, store.get, call.tenant, call.uuid("payment_id"))
    if payment is None:
        raise NotFoundError
    return payment_reply(call, payment)


async def list_(call: Call) -> Reply:
    """List payments, newest first."""
    query: PaymentsPage = call.query
    page = await read(
        call.services.engine,
        store.list_page,
        call.tenant,
        status=query.status,
        customer_id=query.customer_id,
        after=pagination.decode(query.cursor),
        limit=query.limit + 1,
    )
    return Reply(200, as_json(pagination.page(page, query.limit, model.payment_document)))


async def patch(call: Call) -> Reply:
    """Change description and metadata, if nobody else has changed the payment since it was read."""
    payment_id, if_match = call.uuid("payment_id"), require_match(call.tags("If-Match"))
    document = await call.json()
    validated(PaymentPatch, document)
    payment = await write(call.services.engine, _patched, call.tenant, payment_id, if_match, document)
    return payment_reply(call, payment)


def _patched(
    tx: Connection, tenant: str, payment_id: UUID, if_match: tuple[str, ...], document: object
) -> model.Payment:
    locked = store.lock(tx, payment_id, tenant)
    check_match(if_match, payment_headers(locked)["etag"])
    before = {"description": locked.description, "metadata": dict(locked.metadata)}
    after = dict(validated(PaymentMutable, merged(before, document)))
    if after != before:
        return store.save(tx, replace(locked, **after))
    unchanged = store.get(tx, tenant, payment_id)
    assert unchanged is not None
    return unchanged


async def cancel(call: Call) -> Reply:
    """Cancel a payment that has not been handed to the provider yet."""
    payment_id = call.uuid("payment_id")
    document = await call.json()
    validated(Nothing, document)
    headers = {"traceparent": call.trace.traceparent}
    return stored_reply(call, await call.services.payments.cancel(claim_of(call, document), payment_id, headers))


def payment_reply(call: Call, payment: model.Payment) -> Reply:
    """Return a payment, or that the caller has it already."""
    etag = payment_headers(payment)["etag"]
    if call.method in ("GET", "HEAD") and matches_weakly(call.tags("If-None-Match"), etag):
        return Reply(304, headers={"ETag": etag})
    return Reply(200, as_json(model.payment_document(payment)), {"ETag": etag})


_PATH = "/v1/payments/{payment_id}"
OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/payments",
        handler=create,
        tag="payments",
        summary="Create a payment",
        body=PaymentCreate,
        body_example=examples.PAYMENT_CREATE,
        headers=("Idempotency-Key",),
        answers={201: Payment},
        example=examples.PAYMENT,
        answer_headers={"Location": _LOCATION, "ETag": ETAG, "Idempotent-Replayed": _REPLAYED},
        problems=(*KEY_PROBLEMS, CustomerUnknownError),
    ),
    Operation(
        method="GET",
        path=_PATH,
        handler=get,
        tag="payments",
        summary="Get a payment",
        headers=("If-None-Match",),
        answers={200: Payment, 304: None},
        example=examples.PAYMENT,
        answer_headers={"ETag": ETAG},
        problems=(NotFoundError,),
    ),
    Operation(
        method="GET",
        path="/v1/payments",
        handler=list_,
        tag="payments",
        summary="List payments",
        query=PaymentsPage,
        answers={200: Payments},
        example=examples.PAYMENTS,
    ),
    Operation(
        method="PATCH",
        path=_PATH,
        handler=patch,
        tag="payments",
        summary="Change a payment's description and metadata",
        body=PaymentPatch,
        body_example=examples.PAYMENT_PATCH,
        media_types=(MERGE_PATCH, JSON),
        headers=("If-Match",),
        answers={200: Payment},
        example=examples.PAYMENT,
        answer_headers={"ETag": ETAG},
        problems=(NotFoundError, PreconditionRequiredError, PreconditionFailedError),
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/cancel",
        handler=cancel,
        tag="payments",
        summary="Cancel a payment",
        body=Nothing,
        body_example={},
        body_optional=True,
        headers=("Idempotency-Key",),
        answers={200: Payment},
        example=examples.CANCELED,
        answer_headers={"Location": _LOCATION, "ETag": ETAG, "Idempotent-Replayed": _REPLAYED},
        problems=(*KEY_PROBLEMS, NotFoundError, NotCancelableError),
    ),
)
