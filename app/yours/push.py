"""How is a message handed to a handler that is a URL? Pushed with a signature and its id; the answer decides.

The body is a CloudEvent in JSON (structured mode), so that the signature covers type and key too; it is that of the
Standard Webhooks specification, `webhook-id` being the message id (docs/own-workers.md, "A handler that is a URL").
"""

import asyncio
import contextvars
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta

import httpx
import orjson
from prometheus_client import Histogram
from sqlalchemy import Connection

from paidonce.app.clock import Clock
from paidonce.app.errors import AwayError, ConfigurationError
from paidonce.app.messaging import http_call
from paidonce.app.messaging.answers import NoAnswer, NotSent
from paidonce.app.messaging.effect_rules import RETRY_AFTER_MOST_S
from paidonce.app.messaging.envelope import CONTENT_TYPE, SOURCE, SPECVERSION, TIME, Message
from paidonce.app.messaging.outcomes import Done, Outcome, Poison, RetryLater
from paidonce.app.settings import Settings
from paidonce.app.webhooks import signing

#: Bytes of an answer that are read: enough for a reason.
REASON_BYTES = 300
#: The media type of a CloudEvent in JSON (CloudEvents HTTP protocol binding 1.0.2, section 3.2).
MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"

PUSH_SECONDS = Histogram(
    "paidonce_push_seconds",
    "Time of one push to a handler that is a URL, by its answer: 2xx, 4xx, …, NoAnswer, NotSent.",
    ["answer"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Pusher:
    """Pushes messages, one after the other, over one connection that is kept; for one process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Raises ConfigurationError when nothing could be signed."""
        self._secret = settings.push_secret.get_secret_value()
        try:
            signing.check_secret(self._secret)
        except ValueError as error:
            raise ConfigurationError(f"messages cannot be pushed: set PAIDONCE_PUSH_SECRET: {error}") from error
        self._settings, self._clock = settings, clock
        self._loop = asyncio.Runner()
        self._http = http_call.client(connections=1, keep_alive=True)

    def close(self) -> None:
        """Close the connection."""
        self._loop.run(self._http.aclose())
        self._loop.close()

    def push(self, url: str, message: Message) -> Outcome:
        """Push `message` once.

        Raises:
            AwayError: no connection was made; nobody got it.
        """
        body = _event(message)
        headers = signing.sign(self._secret, message.message_id, self._clock.now(), body)
        headers |= {"Content-Type": MEDIA_TYPE}
        headers |= {name: value for name, value in message.headers.items() if name in {"traceparent", "tracestate"}}
        request = self._http.build_request("POST", url, content=body, headers=headers)
        began = self._clock.monotonic()
        reply = self._loop.run(
            http_call.call_once(self._http, request, limit_s=self._settings.push_call_s, body_bytes_max=REASON_BYTES),
            # Of this message: by itself a runner keeps that of its first one.
            context=contextvars.copy_context(),
        )
        answer = f"{reply.status // 100}xx" if isinstance(reply, http_call.Reply) else type(reply).__name__
        PUSH_SECONDS.labels(answer).observe(self._clock.monotonic() - began)
        return self._meaning(url, reply)

    def _meaning(self, url: str, reply: http_call.Reply | NotSent | NoAnswer) -> Outcome:
        again = timedelta(seconds=self._settings.push_again_s)
        if isinstance(reply, NotSent):
            raise AwayError(f"{url} takes no connection ({reply.reason})")
        if isinstance(reply, NoAnswer):
            return RetryLater(again, f"{url}: no answer ({reply.reason})")
        said = f"{url} answered {reply.status}: {reply.body.decode(errors='replace').replace(chr(0), '')}"
        if 200 <= reply.status < 300:
            return Done()
        if reply.status == httpx.codes.GONE:
            return Poison(said)
        if "retry-after" in reply.headers:
            asked_s = http_call.retry_after_s(reply.headers, self._clock.now())
            again = timedelta(seconds=min(RETRY_AFTER_MOST_S, asked_s))
        return RetryLater(again, said)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A handler that is a URL."""

    url: str
    pusher: Pusher

    def __call__(self, _tx: Connection, message: Message) -> Outcome:
        """Push the message; what was answered is its outcome."""
        return self.pusher.push(self.url, message)


def wanted(option: str) -> tuple[str, str]:
    """Return event type and URL of `TYPE=URL`; raises ConfigurationError when it is none."""
    type_, _, text = option.partition("=")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"--push {option}: no URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"--push {option}: it must be TYPE=URL, as order.placed=https://shop.example/placed")
    return type_, text


def _event(message: Message) -> bytes:
    """Return the message as a CloudEvent in JSON; a payload that is not JSON goes in base64."""
    headers = message.headers
    event: dict[str, object] = {
        "specversion": SPECVERSION,
        "id": message.message_id,
        "source": headers.get("ce_source", SOURCE),
        "type": message.type,
        "subject": message.key,
        "datacontenttype": headers.get("content-type", CONTENT_TYPE),
    }
    event |= {name.removeprefix("ce_"): headers[name] for name in (TIME, "ce_sequence") if name in headers}
    try:
        orjson.loads(message.value)
        event["data"] = orjson.Fragment(message.value)
    except orjson.JSONDecodeError:
        event["data_base64"] = b64encode(message.value).decode()
    return orjson.dumps(event)
