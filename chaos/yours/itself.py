"""How does Paidonce look to the rig as somebody else's pipeline? The control: the same rig, and another verdict.

`paidonce chaos yours paidonce.chaos.yours.itself:Paidonce`.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from paidonce.chaos.adapter import Call, Ground, Payment, Pipeline, Program
from paidonce.devstack.members import Member, Ports, insiders, issuer
from paidonce.devstack.pace import PACE, environment, new_secret
from paidonce.devstack.tokens import fetch_token


class Paidonce(Pipeline):
    """The development issuer, two replicas of the API, and every worker."""

    def __init__(self, ground: Ground) -> None:
        first, second, third = ground.ports[:3]
        self._ground, self._ports = ground, Ports([first, second], issuer=third)

    def apis(self) -> Sequence[str]:
        """Return the addresses of the replicas."""
        return self._ports.api_urls

    def programs(self) -> Sequence[Program]:
        """Return the issuer, which vouches and is not struck, the migration, and all processes of ours."""
        ground = self._ground
        vouching = issuer(self._ports, ground.folder, ground.dsn)
        return [
            _program(vouching, self._env, struck=False),
            Program(name="migrate", argv=_argv("migrate"), env=self._env, once=True),
            *(_program(member, self._env) for member in insiders(self._ports)),
        ]

    def call(self, payment: Payment) -> Call:
        """Return the request of our own API."""
        return Call(
            path="/v1/payments",
            json={
                "amount": payment.amount,
                "currency": payment.currency,
                "payment_method": payment.method,
                "reference": payment.subject,
            },
            headers={"Authorization": f"Bearer {self._token}", "Idempotency-Key": payment.key},
        )

    def paid_as(self, answer: Mapping[str, Any]) -> str | None:
        """Return the payment's id, which the provider gets as the reference."""
        return answer.get("id")

    @cached_property
    def _token(self) -> str:
        return fetch_token(self._ports.issuer_url)

    @cached_property
    def _env(self) -> dict[str, str]:
        ground = self._ground
        return environment(
            {
                **PACE,
                "issuer": self._ports.issuer_url,
                "jwks_folder": ground.folder / "keys",
                "provider_url": ground.provider,
                "provider_secret": new_secret(),
                "dsn": ground.dsn,
                "kafka": ground.kafka,
                "valkey": ground.valkey,
            }
        )


def _argv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "paidonce.cli", *arguments]


def _program(member: Member, env: Mapping[str, str], *, struck: bool = True) -> Program:
    return Program(
        name=member.name,
        argv=_argv(*member.arguments),
        env={**env, **member.env},
        ready=member.ready_url,
        struck=struck,
    )
