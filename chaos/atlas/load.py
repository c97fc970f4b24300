"""Who pays while the atlas strikes? A few customers in each round, with payments, keys and refunds of their own."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx

from paidonce.app.auth.policy import ADMIN
from paidonce.chaos.client import ATTEMPT_S, Client
from paidonce.chaos.history import Recorder
from paidonce.chaos.intents import METHODS, TENANTS, intents
from paidonce.chaos.workload import CONNECTIONS_MAX, pay, register
from paidonce.devstack.stack import Stack

#: Payments of one round, and the seconds over which they are spread.
PAYMENTS, LOAD_S = 10, 1.0
#: Seconds that a customer waits for a payment to become final, before it leaves that to the drain.
PATIENCE_S = 20.0


@dataclass(slots=True)
class Till:
    """Where the customers pay; their history goes on over all rounds."""

    stack: Stack
    recorder: Recorder
    seed: int
    #: payments that were wanted, and those that the customers were through with
    wanted: int = 0
    through: int = 0
    #: loads that were made: each has a seed of its own
    loads: int = 0
    began: float = field(default_factory=monotonic)

    @classmethod
    def open(cls, stack: Stack, history: Path, seed: int) -> "Till":
        """Begin a history."""
        return cls(stack, Recorder(history), seed)

    def register(self, endpoints: Mapping[str, tuple[str, str]]) -> None:
        """Tell the API where each tenant's webhooks go: tenant -> (URL, secret)."""
        asyncio.run(self._register(endpoints))

    def pay(self, payments: int = PAYMENTS) -> str:
        """Let so many customers pay, and return when each is through; returns what their subjects begin with."""
        self.loads += 1
        prefix = self.seed * 1_000 + self.loads
        self.wanted += payments
        asyncio.run(self._pay(prefix, payments))
        return f"{prefix}-"

    async def _register(self, endpoints: Mapping[str, tuple[str, str]]) -> None:
        async with self._http() as http:
            client = self._client(http)
            for tenant, (url, secret) in endpoints.items():
                await register(client, tenant, url, secret)

    async def _pay(self, prefix: int, payments: int) -> None:
        began = monotonic()
        async with self._http() as http, asyncio.TaskGroup() as customers:
            client = self._client(http)
            for intent in intents(prefix, payments, LOAD_S, METHODS):
                await asyncio.sleep(max(0.0, began + intent.at_s - monotonic()))
                customers.create_task(pay(client, intent, PATIENCE_S)).add_done_callback(self._count)

    def _count(self, _customer: object) -> None:
        self.through += 1

    def _http(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
        # trust_env off: a proxy of the machine has no business between two loopback ports
        return httpx.AsyncClient(limits=limits, timeout=ATTEMPT_S, trust_env=False)

    def _client(self, http: httpx.AsyncClient) -> Client:
        # For each load anew: an atlas takes longer than a token lives.
        tokens = {tenant: self.stack.token(tenant=tenant, roles=[ADMIN]) for tenant in TENANTS}
        return Client(http, tuple(self.stack.addresses.apis), tokens, self.recorder)
