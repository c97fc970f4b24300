"""How does the rig drive this service? The whole of what has to be written for it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paidonce.chaos.adapter import Call, Ground, Payment, Pipeline, Program

HERE = Path(__file__).parent
WORKERS = 4


class Naive(Pipeline):
    """Two replicas of the API, a relay, four workers."""

    #: where the files are
    folder = HERE

    def __init__(self, ground: Ground) -> None:
        self.env = {
            "DATABASE_URL": ground.dsn,
            "KAFKA": ground.kafka,
            "PROVIDER_URL": ground.provider,
        }
        self.ports = ground.ports[:2]

    def apis(self) -> Sequence[str]:
        """Return where clients send their payments."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def programs(self) -> Sequence[Program]:
        """Return what is started, and struck."""
        apis = [
            self._python("api.py", f"api-{number}", PORT=str(port), ready=f"http://127.0.0.1:{port}/health")
            for number, port in enumerate(self.ports, 1)
        ]
        workers = [self._python("worker.py", f"worker-{number}") for number in range(1, WORKERS + 1)]
        migrate = self._python("migrate.py", "migrate", str(self.folder / "schema.sql"), once=True)
        return [migrate, *apis, self._python("relay.py", "relay"), *workers]

    def call(self, payment: Payment) -> Call:
        """Return the request that pays."""
        body = {"amount": payment.amount, "currency": payment.currency, "method": payment.method}
        return Call(path="/payments", json=body, headers={"Idempotency-Key": payment.key})

    def paid_as(self, answer: Mapping[str, Any]) -> str | None:
        """Return the id in the answer, which the worker hands to the provider as the reference."""
        return answer.get("id")

    def _python(self, file: str, name: str, *more: str, ready: str = "", once: bool = False, **env: str) -> Program:
        own = self.folder / file
        argv = [sys.executable, str(own if own.exists() else HERE / file), *more]
        return Program(name=name, argv=argv, env={**self.env, **env}, ready=ready, once=once)
