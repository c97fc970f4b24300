"""Does a change of a cart see every change that came between its look and its write?"""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from valkey import Valkey as Direct

from paidonce.app.carts.model import Cart, CartDraft, Item
from paidonce.app.carts.store import Carts
from paidonce.app.clock import SystemClock
from paidonce.app.errors import PreconditionFailedError
from paidonce.app.settings import Settings
from paidonce.app.valkey import SharedState
from paidonce.devstack.valkey import Valkey

DRAFT = CartDraft(currency="EUR", items=(Item(name="a", unit_amount=1, quantity=1),))


class Rival:
    """Somebody else's write, right after the look: called as the check of a change, it changes what was looked at."""

    def __init__(self, valkey: Valkey, cart_id: str, wanted: str | None = None) -> None:
        self._direct = Direct.from_url(valkey.url)
        self._key = f"paidonce:cart:4:acme:{cart_id}"
        self._wanted = wanted
        self.seen: list[str | None] = []

    @property
    def value(self) -> bytes | None:
        found: bytes | None = self._direct.get(self._key)
        return found

    def __call__(self, cart: Cart | None) -> None:
        self.seen.append(None if cart is None else cart.version)
        if len(self.seen) == 1:
            before = self.value
            self._direct.set(self._key, b"r" * 32 + (before[32:] if before else b"{}"))
        elif self._wanted and self.seen[-1] != self._wanted:
            raise PreconditionFailedError


@pytest.fixture
async def carts(valkey: Valkey) -> AsyncIterator[Carts]:
    settings = Settings(valkey=valkey.url, valkey_call_s=10)
    shared = SharedState(settings, SystemClock())
    yield Carts(shared, SystemClock(), settings)
    await shared.close()


async def kept(carts: Carts) -> Cart:
    cart, new = await carts.put("acme", uuid4().hex, DRAFT, lambda _: None)
    assert new
    return cart


async def test_a_conditional_write_does_not_go_over_another(carts: Carts, valkey: Valkey) -> None:
    cart = await kept(carts)
    rival = Rival(valkey, cart.id, wanted=cart.version)
    with pytest.raises(PreconditionFailedError):
        await carts.put("acme", cart.id, DRAFT, rival)
    assert rival.seen == [cart.version, "r" * 32]
    assert rival.value is not None
    assert rival.value.startswith(b"r" * 32), "the other write is lost"


async def test_a_conditional_removal_does_not_remove_another(carts: Carts, valkey: Valkey) -> None:
    cart = await kept(carts)
    rival = Rival(valkey, cart.id, wanted=cart.version)
    with pytest.raises(PreconditionFailedError):
        await carts.remove("acme", cart.id, rival)
    assert rival.value is not None


async def test_an_unconditional_write_looks_again_and_goes_through(carts: Carts, valkey: Valkey) -> None:
    cart = await kept(carts)
    rival = Rival(valkey, cart.id)
    written, new = await carts.put("acme", cart.id, DRAFT, rival)
    assert (len(rival.seen), new) == (2, False)
    assert rival.value is not None
    assert rival.value.startswith(written.version.encode())


async def test_a_cart_that_changed_after_its_checkout_is_not_forgotten(carts: Carts, valkey: Valkey) -> None:
    paid = await kept(carts)
    changed, _ = await carts.put("acme", paid.id, DRAFT, lambda _: None)
    assert await carts.forget("acme", paid)
    assert await carts.get("acme", paid.id) == changed
    assert await carts.forget("acme", changed)
    assert await carts.get("acme", paid.id) is None
