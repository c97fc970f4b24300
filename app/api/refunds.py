"""Refunds over HTTP: of a captured payment, in part or whole (docs/design.md, "The API")."""

from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.api import examples, pagination
from paidonce.app.api.claims import claim_of, stored_reply
from paidonce.app.api.conditions import etag_of, matches_weakly
from paidonce.app.api.operation import Call, Operation, validated
from paidonce.app.api.payments import ETAG, KEY_PROBLEMS
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Page, Refund, RefundCreate, Refunds
from paidonce.app.api.transactions import read
from paidonce.app.auth import policy
from paidonce.app.documents import as_json
from paidonce.app.errors import NotFoundError, NotRefundableError, RefundLimitError
from paidonce.app.payments import model, refunds, store


async def create(call: Call) -> Reply:
    """Ask for money back. It is refunded in the background, at most once for its key."""
    payment_id = call.uuid("payment_id")
    document = await call.json()
    draft = validated(RefundCreate, document)
    stored = await call.services.payments.refund(
        claim_of(call, document),
        payment_id,
        draft.amount,
        draft.reason,
        {"traceparent": call.trace.traceparent},
        limit=policy.amount_limit(call.principal, "POST", _PATH, call.services.settings),
    )
    return stored_reply(call, stored)


async def get(call: Call) -> Reply:
    """Show a refund as it is now."""
    refund = await read(call.services.engine, refunds.get, call.tenant, call.uuid("payment_id"), call.uuid("refund_id"))
    if refund is None:
        raise NotFoundError
    body = as_json(model.refund_document(refund))
    etag = etag_of(body)
    if matches_weakly(call.tags("If-None-Match"), etag):
        return Reply(304, headers={"ETag": etag})
    return Reply(200, body, {"ETag": etag})


async def list_(call: Call) -> Reply:
    """List a payment's refunds, newest first."""
    query: Page = call.query
    page = await read(
        call.services.engine,
        _page,
        call.tenant,
        call.uuid("payment_id"),
        after=pagination.decode(query.cursor),
        limit=query.limit + 1,
    )
    return Reply(200, as_json(pagination.page(page, query.limit, model.refund_document)))


def _page(tx: Connection, tenant: str, payment_id: UUID, *, after: UUID | None, limit: int) -> list[model.Refund]:
    if store.get(tx, tenant, payment_id) is None:
        raise NotFoundError
    return refunds.list_page(tx, tenant, payment_id, after=after, limit=limit)


_PATH = "/v1/payments/{payment_id}/refunds"
OPERATIONS = (
    Operation(
        method="POST",
        path=_PATH,
        handler=create,
        tag="refunds",
        summary="Refund a payment",
        body=RefundCreate,
        body_example=examples.REFUND_CREATE,
        body_optional=True,
        headers=("Idempotency-Key",),
        answers={201: Refund},
        example=examples.REFUND,
        answer_headers={
            "Location": "Where the refund is.",
            "Idempotent-Replayed": "`true` when this is the stored answer of an earlier request with the same key.",
        },
        problems=(*KEY_PROBLEMS, NotFoundError, NotRefundableError, RefundLimitError),
    ),
    Operation(
        method="GET",
        path=_PATH,
        handler=list_,
        tag="refunds",
        summary="List a payment's refunds",
        query=Page,
        answers={200: Refunds},
        example=examples.REFUNDS,
        problems=(NotFoundError,),
    ),
    Operation(
        method="GET",
        path=f"{_PATH}/{{refund_id}}",
        handler=get,
        tag="refunds",
        summary="Get a refund",
        headers=("If-None-Match",),
        answers={200: Refund, 304: None},
        example=examples.REFUND,
        answer_headers={"ETag": ETAG},
        problems=(NotFoundError,),
    ),
)
