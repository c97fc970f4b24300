"""How do the simulator's webhooks reach us? From the journal, until a 2xx, always under the same webhook-id."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import httpx
import structlog

from paidonce.app.clock import Clock
from paidonce.app.retry import backoff_s
from paidonce.app.webhooks import signing
from paidonce.devstack.provider.journal import Due, Journal
from paidonce.devstack.provider.options import Options

#: Webhooks sent at once: enough for a demo, few enough for one API process.
PARALLEL = 8
#: Seconds for one delivery.
CALL_S = 5.0
#: Seconds before the first retry, and between retries at most: a restarted API soon gets what it missed.
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0

#: Returns the headers that sign a body: of the secret, the webhook's id, the time.
Sign = Callable[[str, str, datetime, bytes], dict[str, str]]

log = structlog.get_logger(__name__)


class Sender:
    """Sends what is due; runs until it is cancelled."""

    def __init__(self, journal: Journal, options: Options, clock: Clock, sign: Sign = signing.sign) -> None:
        self._journal, self._options, self._clock, self._sign = journal, options, clock, sign
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Say that there is a new webhook."""
        self._news.set()

    async def run(self) -> None:
        """Send for ever."""
        async with httpx.AsyncClient(timeout=CALL_S, trust_env=False) as client:
            while True:
                self._news.clear()
                due = self._journal.due(self._now(), PARALLEL)
                await asyncio.gather(*(self._send(client, one) for one in due))
                if not due:
                    await self._sleep()

    async def _sleep(self) -> None:
        next_due = self._journal.next_due()
        try:
            async with asyncio.timeout(None if next_due is None else max(0.0, next_due - self._now())):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send(self, client: httpx.AsyncClient, one: Due) -> None:
        secret = self._options.secret.get_secret_value()
        headers = self._sign(secret, one.webhook_id, self._clock.now(), one.body)
        try:
            answer = await client.post(
                self._options.webhook_url, content=one.body, headers={**headers, "Content-Type": "application/json"}
            )
            taken, said = answer.is_success, str(answer.status_code)
        except httpx.HTTPError as error:
            taken, said = False, type(error).__name__
        if taken:
            self._journal.delivered(one.webhook_id, at=self._now())
            return
        log.info("webhook_not_taken", webhook_id=one.webhook_id, attempts=one.attempts + 1, said=said)
        wait_s = backoff_s(one.attempts, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        self._journal.not_delivered(one.webhook_id, due=self._now() + wait_s)

    def _now(self) -> float:
        return self._clock.now().timestamp()
