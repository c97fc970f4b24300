"""Carts over HTTP, under the client's own ids, and their checkout (docs/design.md, "Shared state")."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from paidonce.app.api import examples
from paidonce.app.api.cart_schemas import Cart, CartCheckout, CartPut
from paidonce.app.api.claims import claim_of, stored_reply
from paidonce.app.api.conditions import ANY, check_match, check_none_match, matches_weakly, require_match
from paidonce.app.api.operation import Call, Operation, validated
from paidonce.app.api.payments import ETAG, KEY_PROBLEMS
from paidonce.app.api.problems import InvalidHeaderError, InvalidIdError
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Payment
from paidonce.app.carts.model import Cart as Kept
from paidonce.app.carts.model import CartDraft, Item, cart_document
from paidonce.app.customers import store as customers
from paidonce.app.documents import as_json
from paidonce.app.errors import (
    CartPaidError,
    CartsUnavailableError,
    CustomerUnknownError,
    NotFoundError,
    PreconditionFailedError,
    PreconditionRequiredError,
    Problem,
)
from paidonce.app.payments.checkouts import CartVersion
from paidonce.app.payments.service import PaymentDraft


async def put(call: Call) -> Reply:
    """Create the cart, or replace it whole; each time under a new version, and for as long as a cart is kept."""
    cart_id, check = call.identifier("cart_id"), _preconditions(call)
    draft = await call.draft(CartPut)
    items = tuple(Item(**dict(item)) for item in draft.items)
    cart, created = await call.services.carts.put(
        call.tenant, cart_id, CartDraft(currency=draft.currency, items=items), check
    )
    location = {"Location": f"/v1/carts/{cart_id}"} if created else {}
    return Reply(201 if created else 200, as_json(cart_document(cart)), {"ETag": cart.etag, **location})


async def get(call: Call) -> Reply:
    """Show a cart."""
    cart = await call.services.carts.get(call.tenant, call.identifier("cart_id"))
    if cart is None:
        raise NotFoundError
    if matches_weakly(call.tags("If-None-Match"), cart.etag):
        return Reply(304, headers={"ETag": cart.etag})
    return Reply(200, as_json(cart_document(cart)), {"ETag": cart.etag})


async def delete(call: Call) -> Reply:
    """Remove a cart; one that is gone already is gone too."""
    await call.services.carts.remove(call.tenant, call.identifier("cart_id"), _preconditions(call))
    return Reply(204)


async def checkout(call: Call) -> Reply:
    """Pay the version of the cart that If-Match names: one payment for it, whatever key, tab or replica asks.

    The first answer is 201. A request with another key, but otherwise the same, gets the same payment with 200.
    """
    cart_id, etag = call.identifier("cart_id"), _one_tag(call)
    document = await call.json()
    body = validated(CartCheckout, document)
    claim = claim_of(call, {"if-match": etag, "body": document})
    cart, absent = await _cart(call, cart_id, etag)
    stored = await call.services.payments.checkout(
        claim,
        CartVersion(call.tenant, cart_id, etag.strip('"')),
        None if cart is None else PaymentDraft(amount=cart.amount, currency=cart.currency, **dict(body)),
        {"traceparent": call.trace.traceparent},
        absent=absent,
        customer_known=_known(call.tenant, body.customer_id),
    )
    call.trace.payment_id = stored.response.resource_id
    if cart is not None:
        await call.services.carts.forget(call.tenant, cart)
    return stored_reply(call, stored)


async def _cart(call: Call, cart_id: str, etag: str) -> tuple[Kept | None, Problem]:
    """Return the cart if it is still that version, and what to answer if not and nobody has paid it."""
    try:
        cart = await call.services.carts.get(call.tenant, cart_id)
    except CartsUnavailableError as error:
        return None, error
    if cart is None:
        return None, NotFoundError()
    return (cart if cart.etag == etag else None), PreconditionFailedError()


def _one_tag(call: Call) -> str:
    """Return the tag in If-Match: who pays says what, so neither a list nor `*` will do."""
    tags = require_match(call.tags("If-Match"))
    if len(tags) != 1 or tags == ANY:
        raise InvalidHeaderError("If-Match of a checkout must name the one ETag of the cart that is to be paid.")
    return tags[0]


def _known(tenant: str, customer_id: str | None) -> Callable[[Connection], bool]:
    return lambda tx: customer_id is None or customers.get(tx, tenant, customer_id) is not None


def _preconditions(call: Call) -> Callable[[Kept | None], None]:
    """Return what must hold for the cart, None where there is none."""
    if_match, if_none_match = call.tags("If-Match"), call.tags("If-None-Match")

    def check(cart: Kept | None) -> None:
        etag = None if cart is None else cart.etag
        check_match(if_match, etag)
        check_none_match(if_none_match, etag)

    return check


_ANY: dict[str, Any] = {"path": "/v1/carts/{cart_id}", "tag": "carts"}
OPERATIONS = (
    Operation(
        **_ANY,
        method="PUT",
        handler=put,
        summary="Create or replace a cart",
        body=CartPut,
        body_example=examples.CART_PUT,
        headers=("If-Match?", "If-None-Match"),
        answers={200: Cart, 201: Cart},
        example=examples.CART,
        answer_headers={"ETag": ETAG, "Location": "Where a new cart is."},
        problems=(InvalidIdError, PreconditionFailedError, CartsUnavailableError),
    ),
    Operation(
        **_ANY,
        method="GET",
        handler=get,
        summary="Get a cart",
        headers=("If-None-Match",),
        answers={200: Cart, 304: None},
        example=examples.CART,
        answer_headers={"ETag": ETAG},
        problems=(InvalidIdError, NotFoundError, CartsUnavailableError),
    ),
    Operation(
        **_ANY,
        method="DELETE",
        handler=delete,
        summary="Delete a cart",
        headers=("If-Match?",),
        answers={204: None},
        problems=(InvalidIdError, PreconditionFailedError, CartsUnavailableError),
    ),
    Operation(
        method="POST",
        path="/v1/carts/{cart_id}/checkout",
        handler=checkout,
        tag="carts",
        summary="Pay a cart",
        body=CartCheckout,
        body_example=examples.CART_CHECKOUT,
        headers=("Idempotency-Key", "If-Match!"),
        answers={201: Payment, 200: Payment},
        example=examples.PAYMENT,
        answer_headers={
            "Location": "Where the payment is.",
            "ETag": ETAG,
            "Idempotent-Replayed": "`true` when this is the stored answer of an earlier request with the same key.",
        },
        problems=(
            *KEY_PROBLEMS,
            InvalidIdError,
            NotFoundError,
            CartPaidError,
            PreconditionRequiredError,
            PreconditionFailedError,
            CustomerUnknownError,
            CartsUnavailableError,
        ),
    ),
)
