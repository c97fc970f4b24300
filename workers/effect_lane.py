"""How are the effects of one kind carried out? Claimed, COMMIT, called, and settled in one transaction.

Each kind has a lane of its own, so that slow webhooks never hold up a charge. A worker that dies
or stalls anywhere in here leaves a row whose lease ends (docs/design.md, "Effects").
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app import db, trace_context
from paidonce.app.breaker import Breaker
from paidonce.app.clock import Clock
from paidonce.app.errors import CommitUnknownError, ConfigurationError
from paidonce.app.messaging import effects
from paidonce.app.messaging.answers import (
    Answer,
    Finding,
    NoAnswer,
    NotFound,
    NotSent,
    Refused,
    Rejected,
    Succeeded,
)
from paidonce.app.messaging.effect_kinds import Effect, Kind
from paidonce.app.messaging.effect_rules import Decision, Rules, decide, may_send
from paidonce.app.retry import attempts_async, backoff_s
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.effects_meter import ANSWERS, CALL_SECONDS, ENDED
from paidonce.workers.runner import Process

#: Tries to write one result, about 4 s; after that the lease ends, and the effect is asked for again.
SETTLE_TRIES = 6
#: What such a try may meet and get over. After an unknown COMMIT the fence tells: a second write changes nothing.
DISTURBANCES = (OperationalError, InterfaceError, InternalError, PoolTimeoutError, CommitUnknownError)
#: Seconds between looks at a database that is away: at first, and at most.
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.05, 2.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """An effect that is ours for a while, on this process's monotonic clock."""

    effect: Effect
    #: read before the claim was sent, so the lease ends no earlier than `began` + its length
    began: float
    lease_end: float


class Lane:
    """Carries out the effects of one kind, some at once."""

    def __init__(
        self,
        kind: Kind,
        *,
        breaker: Breaker | None,
        bind: AsyncEngine,
        settings: Settings,
        clock: Clock,
        settled: Callable[[], object] = lambda: None,
    ) -> None:
        """`breaker`: that of the kind's circuit, None: it has none; `settled` is called after a result's COMMIT.

        Raises:
            ConfigurationError: no lease would outlast a call.
        """
        if kind.call_s >= settings.effect_lease_s:
            raise ConfigurationError(
                f"a call of kind {kind.name} may take {kind.call_s:g} s, which no lease of "
                f"{settings.effect_lease_s:g} s outlasts: raise PAIDONCE_EFFECT_LEASE_S"
            )
        self._kind = kind
        self._breaker = breaker
        self._bind = bind
        self._settings = settings
        self._clock = clock
        self._settled = settled
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._more_due = False
        self._rules = Rules(
            honours_keys_for=kind.honours_keys_for,
            key_margin=timedelta(seconds=settings.provider_key_margin_s),
            call=timedelta(seconds=kind.call_s),
            settles_within=kind.settles_within,
            repeats_for=kind.repeats_for,
            retry_first_s=settings.effect_retry_first_s,
            retry_most_s=settings.effect_retry_most_s,
        )

    async def run(self, stop: asyncio.Event, process: Process) -> None:
        """Carry out what is due until `stop` is set, then let the calls under way end."""
        failures, ready = 0, process.readiness
        while not stop.is_set():
            pause_s = self._settings.effect_poll_s
            ready.begins(self.kind)
            try:
                await self._begin()
                failures = 0
                ready.succeeded(self.kind, pause_s=pause_s)
            except DISTURBANCES as error:
                failures += 1
                ready.failed(self.kind)
                pause_s = backoff_s(failures, first_s=BACKOFF_FIRST_S, most_s=BACKOFF_MOST_S)
                _log.warning("disturbed", error=repr(error), failures=failures)
            await self._pause(pause_s)
        await asyncio.gather(*self._tasks)

    @property
    def kind(self) -> str:
        """The name of the kind of effects that it carries out."""
        return self._kind.name

    def wake(self) -> None:
        """End a pause."""
        self._wake.set()

    async def run_once(self) -> int:
        """Carry out what is due, up to the free slots, to its end; return how many effects it was."""
        begun = await self._begin()
        await asyncio.gather(*self._tasks)
        return begun

    async def _begin(self) -> int:
        """Claim what the free slots and the breaker allow, and start on it."""
        free = self._settings.effect_parallel - len(self._tasks)
        limit = self._breaker.room(free) if self._breaker else free
        claims = await self._claim(limit) if limit else []
        self._more_due = limit == len(claims)
        for claim in claims:
            task = asyncio.create_task(self._carry_out(claim))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return len(claims)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Claim again at once when more is due, but a few together: a claim is a transaction."""
        self._tasks.discard(task)
        if self._more_due and len(self._tasks) <= self._settings.effect_parallel * 3 // 4:
            self._wake.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    @step("effects.claim")
    async def _claim(self, limit: int) -> list[Claim]:
        lease_s = self._settings.effect_lease_s
        began = self._clock.monotonic()
        async with db.begin_async(self._bind) as tx:
            claimed = await tx.run_sync(
                effects.claim_due,
                self._kind.name,
                limit=limit,
                lease_s=lease_s,
                repeats=self._kind.repeats_for is not None,
            )
        return [Claim(effect, began, began + lease_s) for effect in claimed]

    async def _carry_out(self, claim: Claim) -> None:
        """Ask, then write down the answer; an effect that this fails for is found again when its lease ends."""
        effect = claim.effect
        bound = structlog.contextvars.bound_contextvars(kind=effect.kind, subject=effect.subject)
        with trace_context.within(effect.traceparent), bound:
            late = timedelta(seconds=self._clock.monotonic() - claim.began)
            send = may_send(effect, self._rules, effect.claimed_at + late)
            try:
                answer = await self._ask(claim, send=send)
                if effect.open_attempt and _says_nothing_of_it(answer):
                    answer, send = await self._look_up_after(claim, answer)
                await self._settle(effect, answer, sent=send)
            except Exception:  # noqa: BLE001  whatever it was, the lease ends; it must not end the calls beside it
                _log.exception("effect_not_settled", attempts=effect.attempts)

    async def _look_up_after(
        self, claim: Claim, answer: Answer | Finding | None
    ) -> tuple[Answer | Finding | None, bool]:
        """Look up at once: this answer says nothing of the attempt that is open, what exists there does.

        Returns what is known then, and whether that is of the call. Without it the same request would be answered
        so for as long as the provider keeps keys.
        """
        found = await self._ask(claim, send=False)
        return (found, False) if isinstance(found, Succeeded | Refused | NotFound) else (answer, True)

    async def _ask(self, claim: Claim, *, send: bool) -> Answer | Finding | None:
        """Call or look up, unless lease or breaker forbid it."""
        if self._clock.monotonic() + self._kind.call_s > claim.lease_end:
            return NotSent("the lease ends before the call would")
        if self._breaker and not self._breaker.enter():
            return NotSent("the circuit breaker is open")
        answer: Answer | Finding | None = None
        began = self._clock.monotonic()
        try:
            answer = await self._call(claim.effect, send=send)
        except TimeoutError:
            answer = NoAnswer("time limit")
        except Exception as error:  # noqa: BLE001  a kind that raises cannot say what it sent
            _log.exception("effect_kind_raised")
            answer = NoAnswer(f"raised {type(error).__name__}")
        finally:
            if self._breaker:
                self._breaker.report(alive=None if answer is None else not isinstance(answer, NoAnswer | NotSent))
        asked = "call" if send else "look_up"
        CALL_SECONDS.labels(self._kind.name, asked).observe(self._clock.monotonic() - began)
        ANSWERS.labels(self._kind.name, asked, type(answer).__name__).inc()
        return answer

    @step("effects.call")
    async def _call(self, effect: Effect, *, send: bool) -> Answer | Finding | None:
        # S11: the claim is committed and nothing else is begun, so no transaction is open during the call.
        async with asyncio.timeout(self._kind.call_s):
            return await (self._kind.call(effect) if send else self._kind.look_up(effect))

    async def _settle(self, effect: Effect, answer: Answer | Finding | None, *, sent: bool) -> None:
        """Write what the answer makes of the effect; what cannot be settled is as good as not answered."""
        decision = decide(effect, answer, sent=sent, rules=self._rules)
        asked = "call" if sent else "look_up"
        try:
            await self._write_steadily(effect, decision, asked, answer)
        except DISTURBANCES:
            raise
        except Exception as error:  # noqa: BLE001  back-off instead of a lease after which the same would happen
            _log.exception("effect_settle_raised")
            unsettled = NoAnswer(f"settling raised {type(error).__name__}")
            decision = decide(effect, unsettled, sent=True, rules=self._rules)
            await self._write_steadily(effect, decision, asked, unsettled)

    async def _write_steadily(
        self, effect: Effect, decision: Decision, asked: str, answer: Answer | Finding | None
    ) -> None:
        async for attempt in attempts_async(*DISTURBANCES, count=SETTLE_TRIES):
            with attempt:
                ours = await self._write(effect, decision, asked, answer)
                self._tell(effect, decision, answer, ours=ours)

    @step("effects.settle")
    async def _write(self, effect: Effect, decision: Decision, asked: str, answer: Answer | Finding | None) -> bool:
        def write(tx: Connection) -> bool:
            if not effects.finish(tx, effect, decision, asked=asked, answer=answer):
                return False
            if decision.settled is not None:
                self._kind.settle(tx, effect, decision.settled)
            return True

        async with db.begin_async(self._bind) as tx:
            ours = await tx.run_sync(write)
        if ours and decision.settled is not None:
            ENDED.labels(self._kind.name, decision.state).inc()
            self._settled()
        return ours

    def _tell(self, effect: Effect, decision: Decision, answer: Answer | Finding | None, *, ours: bool) -> None:
        """Say what an operator should see: a claim that was taken over, and whatever stays unknown."""
        if not ours:
            _log.warning("effect_claim_is_not_ours", state=decision.state, attempts=effect.attempts)
        elif decision.state == "unknown":
            stuck = not may_send(effect, self._rules, effect.claimed_at) and self._rules.settles_within is None
            tell = _log.error if stuck else _log.warning
            tell("effect_unknown", attempts=effect.attempts, answer=type(answer).__name__, stuck=stuck)


def _says_nothing_of_it(answer: Answer | Finding | None) -> bool:
    """Tell whether the open attempt is as open as before, and asking again would be answered the same."""
    return isinstance(answer, Rejected) or (isinstance(answer, NoAnswer) and answer.stored)
