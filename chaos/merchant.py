"""Who receives the merchants' webhooks? A server of its own that checks, counts, and is not always well.

`python -m paidonce.chaos.merchant CONFIG` prints its port and serves `/TENANT` until its standard
input ends, so that it never outlives who started it.
Each delivery is a JSON line: who got it, its `webhook-id`, the body's hash, whether the
signature is right (Standard Webhooks), and what was answered.
"""

import asyncio
import hashlib
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

import orjson
import standardwebhooks
import uvicorn

#: One delivery in so many is answered 500 the first time: at least once means that it comes again.
UNWELL_ONE_IN = 10

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a merchant process is told, as JSON in a file."""

    #: where the deliveries are written, JSON lines
    mailbox: str
    #: tenant -> `whsec_…`
    secrets: Mapping[str, str]


class Merchant:
    """The ASGI application."""

    def __init__(self, config: Config) -> None:
        self._file = Path(config.mailbox).open("ab", buffering=0)  # noqa: SIM115  open as long as the process
        self._signed = {tenant: standardwebhooks.Webhook(secret) for tenant, secret in config.secrets.items()}
        self._seen: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one delivery."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # cut off on the way: it never arrived
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        status = self._take(scope["path"].strip("/"), headers, body)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _take(self, tenant: str, headers: Mapping[str, str], body: bytes) -> int:
        webhook_id = headers.get("webhook-id", "")
        verified = self._verified(tenant, headers, body)
        unwell = webhook_id not in self._seen and hashlib.sha256(webhook_id.encode()).digest()[0] % UNWELL_ONE_IN == 0
        self._seen.add(webhook_id)
        status = 400 if not verified else 500 if unwell else 204
        sha256 = hashlib.sha256(body).hexdigest()
        line = {"tenant": tenant, "webhook_id": webhook_id, "sha256": sha256, "verified": verified, "status": status}
        self._file.write(orjson.dumps({**line, "at": time()}) + b"\n")
        return status

    def _verified(self, tenant: str, headers: Mapping[str, str], body: bytes) -> bool:
        if tenant not in self._signed:
            return False
        try:
            self._signed[tenant].verify(body, dict(headers))
        except (standardwebhooks.WebhookVerificationError, ValueError):
            return False
        return True


async def serve(config: Config) -> None:
    """Serve on a free loopback port, printed first, until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(Merchant(config), lifespan="off", log_level="warning", access_log=False))
    threading.Thread(target=_until_input_ends, args=[server], daemon=True).start()
    await server.serve(sockets=[listener])


def _until_input_ends(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


def main() -> None:
    """Serve what the file in the first argument describes."""
    asyncio.run(serve(Config(**orjson.loads(Path(sys.argv[1]).read_bytes()))))


if __name__ == "__main__":
    main()
