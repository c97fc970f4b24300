"""How does your code call the outside so that a crash neither loses nor repeats it? (docs/own-workers.md)

`enqueue` writes the call down in your transaction; a worker (`paidonce effects --executors MODULE`) claims it and asks
your executor, which says what it knows, and no more. What that means for the call is docs/design.md, "Effects".
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from paidonce.app import trace_context
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import dead_letters
from paidonce.app.messaging.answers import (
    Answer,
    Finding,
    NoAnswer,
    NotFound,
    NotSent,
    Refused,
    Rejected,
    Succeeded,
    Throttled,
)
from paidonce.app.messaging.effect_kinds import Definite, Effect
from paidonce.app.messaging.effects import CREATE
from paidonce.app.settings import settings
from paidonce.app.yours.payload import Payload, encode
from paidonce.app.yours.transaction import AsyncTransaction, Parameters, Transaction, execute, execute_async

__all__ = (
    "Answer",
    "Definite",
    "Effect",
    "Executor",
    "Finding",
    "NoAnswer",
    "NotFound",
    "NotSent",
    "Refused",
    "Rejected",
    "Succeeded",
    "Throttled",
    "enqueue",
    "enqueue_async",
    "executor",
)

KIND = re.compile(r"[a-z][a-z0-9_-]{0,99}")
#: Kinds that Paidonce's own worker carries out.
OURS = frozenset({"charge", "refund", "webhook"})

Call = Callable[[Effect], Awaitable[Answer]]
LookUp = Callable[[Effect], Awaitable[Finding]]
Settled = Callable[[Connection, Effect, Definite], None]

_log = structlog.get_logger(__name__)


def enqueue(tx: Transaction, kind: str, key: str, request: Payload) -> None:
    """Write down, in your transaction, that `request` is to be sent once for (`kind`, `key`).

    Nothing happens where that was written before. `key` is the name of what is to happen, `receipt of order o-1`:
    it is the executor's `effect.subject`, from which the other side's idempotency key is made.

    Raises:
        ConfigurationError: no name for a kind, one of Paidonce's own, an empty key, or no transaction.
    """
    execute(tx, CREATE, _row(kind, key, request))


async def enqueue_async(tx: AsyncTransaction, kind: str, key: str, request: Payload) -> None:
    """Do the same in a transaction on asyncio; raises as `enqueue` does."""
    await execute_async(tx, CREATE, _row(kind, key, request))


def _row(kind: str, key: str, request: Payload) -> Parameters:
    _check_kind(kind)
    if not key or "\0" in key:
        raise ConfigurationError(f"an effect of kind {kind} needs a key that names it, without NUL")
    return {
        "id": str(new_id()),
        "kind": kind,
        "subject": key,
        "tenant": "",
        "request": encode(request),
        "traceparent": trace_context.current(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """One kind of effect of your own; it is a function still: calling it calls yours."""

    name: str
    function: Call
    limit_s: float | None
    repeats_for: timedelta | None
    honours_keys_for: timedelta
    settles_within: timedelta | None
    look: LookUp | None
    settled: Settled | None
    circuit: str | None

    def __call__(self, effect: Effect) -> Awaitable[Answer]:
        """Call your function."""
        return self.function(effect)

    @property
    def call_s(self) -> float:
        """How long a call or a look-up may take."""
        return settings().effect_call_s if self.limit_s is None else self.limit_s

    @property
    def consumer(self) -> str:
        """Under which name the operator finds those that nobody took."""
        return f"effect-{self.name}"

    async def call(self, effect: Effect) -> Answer:
        """Send it once."""
        return await self.function(effect)

    async def look_up(self, effect: Effect) -> Finding | None:
        """Ask the other side what came of it."""
        return await self.look(effect) if self.look else None

    def settle(self, tx: Connection, effect: Effect, answer: Definite) -> None:
        """Keep what was refused or given up as a dead letter, then tell your `settled`."""
        if isinstance(answer, Succeeded):
            dead_letters.done(tx, consumer=self.consumer, message_id=effect.subject)
        else:
            _log.warning("effect_refused", kind=self.name, subject=effect.subject, code=answer.code)
            dead_letters.add(
                tx,
                consumer=self.consumer,
                message_id=effect.subject,
                key=effect.subject,
                envelope={"effect": self.name, "repeats": self.repeats_for is not None, "attempts": effect.attempts},
                value=effect.request,
                reason=answer.code,
            )
        if self.settled:
            self.settled(tx, effect, answer)


def executor(
    kind: str,
    *,
    repeats_for: timedelta | None = None,
    honours_keys_for: timedelta = timedelta(0),
    look_up: LookUp | None = None,
    settles_within: timedelta | None = None,
    settled: Settled | None = None,
    call_s: float | None = None,
    circuit: str | None = None,
) -> Callable[[Call], Executor]:
    """Make a coroutine function the one that carries out effects of `kind`.

    Say what the other side promises, and the worker keeps to it:

    - `repeats_for`: it may happen twice, and is tried for so long (a receipt by e-mail).
    - `honours_keys_for`: it must not, and the other side answers a repeated key with the first result for so long.
    - `look_up`, `settles_within`: it must not, and the other side can be asked; what is not there after so long never
      will be. None of the three: after a call without an answer the effect stays `unknown`, for a person to decide.

    `settled(tx, effect, answer)` runs in the transaction that ends the effect. A call is cut off after `call_s`
    seconds (by default PAIDONCE_EFFECT_CALL_S), less than PAIDONCE_EFFECT_LEASE_S. Kinds that name the same `circuit`
    share a breaker.

    Raises:
        ConfigurationError: no name for a kind, or one of Paidonce's own.
    """
    _check_kind(kind)

    def made(function: Call) -> Executor:
        return Executor(
            name=kind,
            function=function,
            limit_s=call_s,
            repeats_for=repeats_for,
            honours_keys_for=honours_keys_for,
            settles_within=settles_within,
            look=look_up,
            settled=settled,
            circuit=circuit,
        )

    return made


def _check_kind(kind: str) -> None:
    if kind in OURS:
        raise ConfigurationError(f"effects of kind {kind} are Paidonce's own; name yours otherwise")
    if not KIND.fullmatch(kind):
        raise ConfigurationError(f"{kind!r} names no kind of effect: small letters, digits, _ and -, a letter first")
