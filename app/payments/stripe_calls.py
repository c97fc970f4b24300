"""How does Stripe's own client call so that a call happens once or not at all? Over ours, without repeats."""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe

from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import http_call
from paidonce.app.messaging.answers import NoAnswer, NotSent
from paidonce.app.messaging.http_call import Reply
from paidonce.app.settings import Settings

#: Bytes of an answer: a page of a hundred PaymentIntents has some 400 KB.
ANSWER_BYTES_MAX = 4_194_304

#: How a secret key begins, and a restricted one, which suffices.
KEY_PREFIXES = ("sk_", "rk_")

# Figures of our calls are nobody's business but ours, and at its finest Stripe's log has bodies in it.
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)


class UnansweredError(Exception):
    """There was no answer to give to Stripe's client; `outcome` says whether something was sent."""

    def __init__(self, outcome: NotSent | NoAnswer) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class OneCall(stripe.HTTPClient):
    """One request, one connection attempt, a bounded answer (app/messaging/http_call.py)."""

    name = "paidonce"

    def __init__(self, *, limit_s: float, connections: int) -> None:
        super().__init__()
        self._http = http_call.client(connections=connections, keep_alive=True)
        self._limit_s = limit_s

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send the request once; raises UnansweredError."""
        request = self._http.build_request(method.upper(), url, headers=dict(headers), content=post_data)
        reply = await http_call.call_once(self._http, request, limit_s=self._limit_s, body_bytes_max=ANSWER_BYTES_MAX)
        if not isinstance(reply, Reply):
            raise UnansweredError(reply)
        if not reply.complete:
            raise UnansweredError(NoAnswer("the answer is too long"))
        return reply.body, reply.status, reply.headers

    async def close_async(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def client(settings: Settings, http: OneCall) -> stripe.StripeClient:
    """Return Stripe's client at `settings.stripe_url`, which repeats nothing.

    Raises:
        ConfigurationError: there is no key, or it would leave this machine in the clear.
    """
    key = settings.stripe_key.get_secret_value()
    if not key.startswith(KEY_PREFIXES):
        raise ConfigurationError(
            "PAIDONCE_STRIPE_KEY is no secret or restricted key of Stripe (sk_…, rk_…): set it, or a file of that "
            "name in the folder PAIDONCE_SECRETS_DIR"
        )
    url = urlsplit(settings.stripe_url)
    if url.scheme != "https" and url.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ConfigurationError("PAIDONCE_STRIPE_URL must be https: the key travels with each call")
    return stripe.StripeClient(
        key, http_client=http, max_network_retries=0, base_addresses={"api": settings.stripe_url.rstrip("/")}
    )
