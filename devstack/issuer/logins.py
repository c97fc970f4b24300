"""May this login be tried, and is the password right? Attempts are counted before any password is looked at.

Counted in this process by the library `limits`: a development issuer is one process.
"""

import asyncio

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from paidonce.devstack.issuer import people
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.people import NAME_CHARS_MAX, PASSWORD_CHARS_MAX, Person

#: Attempts under one name: a person mistypes, a guesser gets nowhere.
PER_MINUTE = 5
#: An office shares an address, so it may try more often than one name.
ADDRESS_SHARE = 4
#: Passwords hashed at once: each takes 64 MiB and a processor.
HASHES_MAX = 2


class TooManyLoginsError(Exception):
    """Somebody tries too often: wait a minute."""


class Logins:
    """The guard of the login page; one a process, on its event loop."""

    def __init__(self, *, per_minute: int = PER_MINUTE) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._by_name = RateLimitItemPerMinute(per_minute)
        self._by_address = RateLimitItemPerMinute(per_minute * ADDRESS_SHARE)
        self._room = asyncio.Semaphore(HASHES_MAX)

    async def person(self, database: Database, name: str, password: str, address: str) -> Person | None:
        """Return who logs in; None: no such name, or another password.

        Raises:
            TooManyLoginsError: under this name or from this address too often within a minute.
            GrantError: there is no database.
        """
        # The address first: who uses up its own attempts must not use up a stranger's name.
        await self._count(self._by_address, f"address:{address}")
        if len(name) > NAME_CHARS_MAX or len(password) > PASSWORD_CHARS_MAX or not name.isprintable():
            return None
        await self._count(self._by_name, f"name:{name}")
        found = await database.run(people.find, name)
        person, password_hash = found or (None, None)
        async with self._room:
            fits = await asyncio.to_thread(people.fits, password_hash, password)
        return person if fits else None

    async def _count(self, limit: RateLimitItem, who: str) -> None:
        if not await self._limiter.hit(limit, who):
            raise TooManyLoginsError
