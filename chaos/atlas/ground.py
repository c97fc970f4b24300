"""On what does an atlas strike? One warm stack: two of most workers, each obeying orders, and a till that goes on."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import orjson
from sqlalchemy import Engine

from paidonce.chaos import launch
from paidonce.chaos.atlas.load import Till
from paidonce.chaos.conduct import OUTSIDERS
from paidonce.chaos.orders import Desk
from paidonce.chaos.run import PROVIDER
from paidonce.chaos.strikes import Strike
from paidonce.devstack.issuer.clients import api_credentials
from paidonce.devstack.stack import Stack

#: Workers of which there are two: whoever is stopped beyond its lease finds out that another took over.
PAIRS = ("relay", "effects", "cleaner", "consumer-charges")
#: Seconds of one command of an operator: two, unless it is stopped on the way or the machine is busy.
COMMAND_S = 60.0
#: What one of the effects workers believes of the provider: that it ignores keys. So it looks up what is unknown,
#: and both ways out of a lost answer are walked.
LOOKS_UP = {"PAIDONCE_PROVIDER_HONOURS_KEYS_S": "0", "PAIDONCE_PROVIDER_SETTLES_WITHIN_S": "5"}
#: Where the numbers of orders begin that only prepare a strike.
PREPARING_FROM = 1_000_000


@dataclass(frozen=True, slots=True)
class Ground:
    """A running stack with its orders and its customers."""

    stack: Stack
    desk: Desk
    till: Till
    #: of the stack's database, for errands
    bind: Engine
    #: numbers that no errand had before
    numbers: "count[int]" = field(default_factory=lambda: count(PREPARING_FROM))

    def prepare(self, text: str) -> None:
        """Order a strike that is none of the atlas's; where one of its own waits, that one does as well."""
        strike = Strike.parse(text)
        if not self.desk.is_ordered(strike):
            self.desk.give(next(self.numbers), strike)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process of this stack, and `more`."""
        return dict(self.stack.process("cleaner").command.env) | {"PAIDONCE_WORKER_PORT": "0"} | dict(more or {})

    def argv(self, *words: str) -> list[str]:
        """Return what starts `paidonce` with these words, so that it obeys orders."""
        return [*launch.arguments(orders=self.desk.folder), *words]

    def command(self, *words: str, more: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `paidonce` as an operator of this stack would, with `more` environment; returns when it has ended."""
        return subprocess.run(
            self.argv(*words),
            env=self.environment(more),
            cwd=self.stack.run.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )


def new_stack(desk: Desk) -> Stack:
    """Return the stack, not started yet."""

    def how(name: str) -> Sequence[str]:
        if name in OUTSIDERS:
            return [sys.executable, "-m", "paidonce.cli"]
        more = {"PAIDONCE_ISSUERS": _issuers(stack.settings.issuer)} if name.startswith("api-") else {}
        more |= LOOKS_UP if name == "effects-2" else {}
        settings = [f"{key}={value}" for key, value in more.items()]
        return [*(["env", *settings] if settings else []), *launch.arguments(orders=desk.folder)]

    stack = Stack(replicas=2, pairs=PAIRS, overrides=PROVIDER, launch=how)
    return stack


def _issuers(issuer: str) -> str:
    """Return the stack's one issuer, also to be asked about opaque tokens."""
    client, secret = api_credentials()
    opaque = {"client_id": client, "client_secret": secret, "url": f"{issuer}/introspect", "prefix": "pda_"}
    return orjson.dumps([{"issuer": issuer, "opaque": opaque}]).decode()
