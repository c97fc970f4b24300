"""How does a client send a request when replicas come and go? To any of them, again after a broken connection.

That is all it heals: whatever is answered must be an answer to what was asked.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any

import httpx

#: Seconds after which a client gives up: a killed replica is back within a few.
GIVE_UP_S = 30.0
#: Seconds before the next attempt, at first and at most.
PAUSE_FIRST_S, PAUSE_MOST_S = 0.02, 0.5


class UnexpectedError(Exception):
    """The client saw what it must not see: the message says what it asked, and what it got."""


@dataclass
class Tally:
    """What was asked and answered, of all clients together."""

    #: replica -> answers
    answers: Counter[str] = field(default_factory=Counter)
    #: connections that broke or were refused, and requests that were asked again for it
    broken: int = 0
    #: set at every answer, for whoever waits for some
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, count: int) -> None:
        """Wait for that many more answers."""
        enough = self.answers.total() + count
        while self.answers.total() < enough:
            self.changed.clear()
            await self.changed.wait()


class Caller:
    """One client; `choose` says which of the replicas its next request goes to."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        replicas: Sequence[str],
        tally: Tally,
        draw: Random,
        choose: Callable[[Sequence[str]], str] | None = None,
    ) -> None:
        self._http, self._replicas, self._tally, self._draw = http, replicas, tally, draw
        self._choose = choose or draw.choice
        #: go with every request
        self.headers: dict[str, str] = {}

    async def ask(
        self,
        method: str,
        path: str,
        expected: Collection[int],
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> httpx.Response:
        """Return the answer, asking again after a broken connection, and while the first attempt still runs.

        Raises:
            UnexpectedError: its status is not one of `expected`, or nobody answered for GIVE_UP_S seconds.
        """
        give_up, pause_s = monotonic() + GIVE_UP_S, PAUSE_FIRST_S
        while True:
            replica = self._choose(self._replicas)
            try:
                answer = await self._http.request(
                    method, replica + path, headers=self.headers | dict(headers or {}), json=json
                )
            except httpx.TransportError as error:
                self._tally.broken += 1
                if monotonic() > give_up:
                    raise UnexpectedError(f"{method} {path}: nobody answers ({type(error).__name__})") from error
            else:
                self._tally.answers[replica] += 1
                self._tally.changed.set()
                if answer.status_code in expected:
                    return answer
                if not _still_runs(answer) or monotonic() > give_up:
                    raise UnexpectedError(f"{method} {path} at {replica}: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(pause_s * self._draw.uniform(0.5, 1.0))
            pause_s = min(PAUSE_MOST_S, 2 * pause_s)


def _still_runs(answer: httpx.Response) -> bool:
    """Tell whether an earlier attempt, whose replica may be dead, still holds its key: part of a healed reset."""
    return answer.status_code == httpx.codes.CONFLICT and answer.json().get("code") == "request-in-progress"
