"""What does a customer say to a shop in a day? Login, cart, checkout, a duplicate, a second tab, a look, a refund.

Each sentence rests on the one before it, and may go to another replica.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any
from uuid import uuid4

from paidonce.chaos.stateless.caller import Caller, UnexpectedError
from paidonce.devstack.issuer.first_people import first_person

PERSON, _ = first_person("acme")
ITEMS = [
    {"name": "A book", "unit_amount": 950, "quantity": 2},
    {"name": "A pen", "unit_amount": 99, "quantity": 1},
]
AMOUNT = 1999
REFUND = 625
#: Seconds for a payment to be captured and a refund to succeed: fractions of one, while no worker is down.
SETTLED_S = 60.0
LOOK_S = 0.1


async def converse(caller: Caller, login: Callable[[], Awaitable[str]]) -> str:
    """Hold one conversation with the API and return the payment's id; `login` gives that person's access token.

    Raises:
        UnexpectedError: an answer was not the one that the sentences before it lead to.
    """
    caller.headers["Authorization"] = f"Bearer {await login()}"
    me = (await caller.ask("GET", "/v1/me", {200})).json()
    _must((me["sub"], me["tenant"]) == (PERSON, "acme"), f"{PERSON} of acme has logged in, and /v1/me says {me}")
    payment = await _paid(caller)
    path = f"/v1/payments/{payment['id']}"
    await _until(caller, path, "status", "captured")
    await _refunded(caller, path)
    return str(payment["id"])


async def _paid(caller: Caller) -> dict[str, Any]:
    cart = f"/v1/carts/{uuid4().hex}"
    put = await caller.ask("PUT", cart, {200, 201}, json={"currency": "EUR", "items": ITEMS})
    got = await caller.ask("GET", cart, {200})
    _must(got.headers["etag"] == put.headers["etag"], "the cart that was read is not the one that was written")
    _must(got.json()["amount"] == AMOUNT, f"the cart costs {got.json()['amount']}")
    seen = {"If-Match": got.headers["etag"]}
    key = seen | {"Idempotency-Key": uuid4().hex}
    pay = {"payment_method": "pm_ok"}
    first = await caller.ask("POST", f"{cart}/checkout", {201}, headers=key, json=pay)
    again = await caller.ask("POST", f"{cart}/checkout", {201}, headers=key, json=pay)
    _must(again.content == first.content, "the duplicate got another answer")
    _must(again.headers.get("idempotent-replayed") == "true", "the duplicate was not known as one")
    tab = seen | {"Idempotency-Key": uuid4().hex}
    other = await caller.ask("POST", f"{cart}/checkout", {200}, headers=tab, json=pay)
    _must(other.json()["id"] == first.json()["id"], "the second tab has another payment")
    await caller.ask("GET", cart, {404})
    payment: dict[str, Any] = first.json()
    return payment


async def _refunded(caller: Caller, path: str) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    first = await caller.ask("POST", f"{path}/refunds", {201}, headers=key, json={"amount": REFUND})
    again = await caller.ask("POST", f"{path}/refunds", {201}, headers=key, json={"amount": REFUND})
    _must(again.content == first.content, "the duplicate refund got another answer")
    await _until(caller, f"{path}/refunds/{first.json()['id']}", "status", "succeeded")
    refunds = (await caller.ask("GET", f"{path}/refunds", {200})).json()["data"]
    _must([refund["id"] for refund in refunds] == [first.json()["id"]], f"there are other refunds: {refunds}")


async def _until(caller: Caller, path: str, member: str, wanted: str) -> None:
    give_up = monotonic() + SETTLED_S
    while (found := (await caller.ask("GET", path, {200})).json()[member]) != wanted:
        _must(monotonic() < give_up, f"{path} is still {found}")
        await asyncio.sleep(LOOK_S)


def _must(true: bool, words: str) -> None:
    if not true:
        raise UnexpectedError(words)
