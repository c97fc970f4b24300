"""Customers over HTTP, under the merchant's own ids (docs/design.md, "The API")."""

from collections.abc import Callable
from typing import Any

from paidonce.app.api import examples
from paidonce.app.api.body import JSON, MERGE_PATCH
from paidonce.app.api.conditions import check_match, check_none_match, etag_of, matches_weakly, require_match
from paidonce.app.api.merge_patch import merged
from paidonce.app.api.operation import Call, Operation, validated
from paidonce.app.api.payments import ETAG
from paidonce.app.api.problems import InvalidIdError
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Customer, CustomerPatch, CustomerPut
from paidonce.app.api.transactions import read, write
from paidonce.app.customers import store
from paidonce.app.customers.model import Customer as Kept
from paidonce.app.customers.model import CustomerDraft, customer_document
from paidonce.app.documents import as_json
from paidonce.app.errors import NotFoundError, PreconditionFailedError, PreconditionRequiredError


async def put(call: Call) -> Reply:
    """Create the customer, or replace it whole; the same again changes nothing."""
    customer_id, check = call.identifier("customer_id"), _preconditions(call)
    draft = await call.draft(CustomerPut)
    customer, created = await write(
        call.services.engine, store.put, call.tenant, customer_id, CustomerDraft(**dict(draft)), check
    )
    body, etag = _representation(customer)
    if created:
        return Reply(201, body, {"ETag": etag, "Location": f"/v1/customers/{customer_id}"})
    return Reply(200, body, {"ETag": etag})


async def get(call: Call) -> Reply:
    """Show a customer."""
    customer = await read(call.services.engine, store.get, call.tenant, call.identifier("customer_id"))
    if customer is None:
        raise NotFoundError
    body, etag = _representation(customer)
    if matches_weakly(call.tags("If-None-Match"), etag):
        return Reply(304, headers={"ETag": etag})
    return Reply(200, body, {"ETag": etag})


async def patch(call: Call) -> Reply:
    """Change a customer, if nobody else has changed it since it was read."""
    customer_id = call.identifier("customer_id")
    require_match(call.tags("If-Match"))
    check = _preconditions(call)
    document = await call.json()
    validated(CustomerPatch, document)

    def decide(customer: Kept) -> CustomerDraft:
        check(customer)
        before = {"name": customer.name, "email": customer.email, "metadata": dict(customer.metadata)}
        return CustomerDraft(**dict(validated(CustomerPut, merged(before, document))))

    customer = await write(call.services.engine, store.change, call.tenant, customer_id, decide)
    body, etag = _representation(customer)
    return Reply(200, body, {"ETag": etag})


async def delete(call: Call) -> Reply:
    """Remove a customer and all that is known of it; one that is gone already is gone too."""
    await write(call.services.engine, store.remove, call.tenant, call.identifier("customer_id"), _preconditions(call))
    return Reply(204)


def _representation(customer: Kept) -> tuple[bytes, str]:
    body = as_json(customer_document(customer))
    return body, etag_of(body)


def _preconditions(call: Call) -> Callable[[Kept | None], None]:
    """Return what must hold for the customer under its lock, None where there is none."""
    if_match, if_none_match = call.tags("If-Match"), call.tags("If-None-Match")

    def check(customer: Kept | None) -> None:
        etag = None if customer is None else _representation(customer)[1]
        check_match(if_match, etag)
        check_none_match(if_none_match, etag)

    return check


_ANY: dict[str, Any] = {"path": "/v1/customers/{customer_id}", "tag": "customers"}
OPERATIONS = (
    Operation(
        **_ANY,
        method="PUT",
        handler=put,
        summary="Create or replace a customer",
        body=CustomerPut,
        body_example=examples.CUSTOMER_PUT,
        headers=("If-Match?", "If-None-Match"),
        answers={200: Customer, 201: Customer},
        example=examples.CUSTOMER,
        answer_headers={"ETag": ETAG, "Location": "Where a new customer is."},
        problems=(InvalidIdError, PreconditionFailedError),
    ),
    Operation(
        **_ANY,
        method="GET",
        handler=get,
        summary="Get a customer",
        headers=("If-None-Match",),
        answers={200: Customer, 304: None},
        example=examples.CUSTOMER,
        answer_headers={"ETag": ETAG},
        problems=(InvalidIdError, NotFoundError),
    ),
    Operation(
        **_ANY,
        method="PATCH",
        handler=patch,
        summary="Change a customer",
        body=CustomerPatch,
        body_example=examples.CUSTOMER_PATCH,
        media_types=(MERGE_PATCH, JSON),
        headers=("If-Match",),
        answers={200: Customer},
        example=examples.CUSTOMER,
        answer_headers={"ETag": ETAG},
        problems=(InvalidIdError, NotFoundError, PreconditionRequiredError, PreconditionFailedError),
    ),
    Operation(
        **_ANY,
        method="DELETE",
        handler=delete,
        summary="Delete a customer",
        headers=("If-Match?",),
        answers={204: None},
        problems=(InvalidIdError, PreconditionFailedError),
    ),
)
