"""Which commands touch the carts in Valkey? All of them are here: this is their home.

A cart is one key that expires. Every change reads, decides, and writes only if nobody else has
written since. What is lost with Valkey is a cart, never a payment: which version was paid is in
PostgreSQL (app/payments/checkouts.py).
"""

from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex

import orjson

from paidonce.app.carts.model import Cart, CartDraft, cart_document, cart_of
from paidonce.app.clock import Clock
from paidonce.app.documents import as_json
from paidonce.app.errors import CartsUnavailableError
from paidonce.app.settings import Settings
from paidonce.app.valkey import SharedState, ValkeyAwayError

#: Hexadecimal digits of a version: 128 bits, so that nobody guesses one and none is ever drawn twice.
VERSION_CHARS = 32
#: A change that loses to a parallel one looks again; it does not lose that often.
WRITES_MAX = 5

#: The value is the version and the document behind it. ARGV: the version that must be there (empty: none), the new
#: value (empty: none), its milliseconds.
SWAP = f"""
if redis.call('GETRANGE', KEYS[1], 0, {VERSION_CHARS - 1}) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""

#: Raises when the caller's precondition does not hold for what is there, None where nothing is.
Check = Callable[[Cart | None], None]


class Carts:
    """The carts of all tenants."""

    def __init__(self, shared: SharedState, clock: Clock, settings: Settings) -> None:
        self._shared = shared
        self._clock = clock
        self._lasts = timedelta(hours=settings.cart_ttl_h)
        self._swap = shared.client.register_script(SWAP)

    async def get(self, tenant: str, cart_id: str) -> Cart | None:
        """Return a tenant's cart; raises CartsUnavailableError."""
        try:
            raw: bytes | None = await self._shared.call(lambda: self._shared.client.get(_key(tenant, cart_id)))
        except ValkeyAwayError as error:
            raise CartsUnavailableError from error
        if raw is None:
            return None
        return cart_of(orjson.loads(raw[VERSION_CHARS:]), raw[:VERSION_CHARS].decode())

    async def put(self, tenant: str, cart_id: str, draft: CartDraft, check: Check) -> tuple[Cart, bool]:
        """Keep the cart as `draft` says, under a new version; returns it, and whether none was there.

        Raises:
            CartsUnavailableError: Valkey is away, or others wrote all the while.
            PaidonceError: what `check` raises.
        """
        for _ in range(WRITES_MAX):
            found = await self.get(tenant, cart_id)
            check(found)
            cart = self._drawn(cart_id, draft)
            if await self._swapped(tenant, cart_id, found, cart):
                return cart, found is None
        raise CartsUnavailableError

    async def remove(self, tenant: str, cart_id: str, check: Check) -> None:
        """Remove the cart, if there is one; raises as `put` does."""
        for _ in range(WRITES_MAX):
            found = await self.get(tenant, cart_id)
            check(found)
            if found is None or await self._swapped(tenant, cart_id, found, None):
                return
        raise CartsUnavailableError

    async def forget(self, tenant: str, cart: Cart) -> bool:
        """Remove a cart that is paid, unless it has changed since; False when Valkey is away, and it stays a while."""
        try:
            await self._swapped(tenant, cart.id, cart, None)
        except CartsUnavailableError:
            return False
        return True

    def _drawn(self, cart_id: str, draft: CartDraft) -> Cart:
        return Cart(
            id=cart_id,
            currency=draft.currency,
            items=draft.items,
            version=token_hex(VERSION_CHARS // 2),
            expires_at=(self._clock.now() + self._lasts).replace(microsecond=0),
        )

    async def _swapped(self, tenant: str, cart_id: str, found: Cart | None, cart: Cart | None) -> bool:
        """Put `cart` in the place of `found`; False when something else is there by now."""
        version = "" if found is None else found.version
        value = b"" if cart is None else cart.version.encode() + as_json(cart_document(cart))
        lasts_ms = int(self._lasts.total_seconds() * 1_000)
        try:
            swapped = await self._shared.call(
                lambda: self._swap(keys=[_key(tenant, cart_id)], args=[version, value, lasts_ms])
            )
        except ValkeyAwayError as error:
            raise CartsUnavailableError from error
        return bool(swapped)


def _key(tenant: str, cart_id: str) -> str:
    """Return the cart's key; the length keeps one tenant's `a:b` apart from another's `a`."""
    return f"paidonce:cart:{len(tenant)}:{tenant}:{cart_id}"
