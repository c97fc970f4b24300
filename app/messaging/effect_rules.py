"""What does an answer mean for an effect, and may it be sent again? Pure: no table, no clock.

The table of states is in docs/design.md, "Effects". An effect of which nobody can tell whether
an attempt reached the other side is `unknown`, never failed, however many attempts there were.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

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
from paidonce.app.retry import backoff_s

State = Literal["pending", "done", "refused", "unknown"]

#: Seconds for which a Retry-After can stop us: the other side may mean well and still be wrong.
RETRY_AFTER_MOST_S = 3_600.0

#: The codes with which we ourselves end an effect of which the other side holds nothing.
NOT_FOUND = "not-found"
RETRY_HORIZON = "retry-horizon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the other side of one kind promises, and how patient we are."""

    honours_keys_for: timedelta
    #: before the end of that we no longer send under a key: clocks differ
    key_margin: timedelta
    #: the longest that one call takes
    call: timedelta
    settles_within: timedelta | None
    repeats_for: timedelta | None
    retry_first_s: float
    retry_most_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of an effect after one claim."""

    state: State
    #: what ended it, for `Kind.settle`; None: it goes on
    settled: Definite | None = None
    #: until the next claim; None: there is none
    delay: timedelta | None = None
    #: whether an attempt may have reached the other side
    open_attempt: bool = False
    #: end of the lease of the last attempt that may have sent; None: none is open
    sent_until: datetime | None = None


def may_send(effect: Effect, rules: Rules, now: datetime) -> bool:
    """Tell whether to send the effect's bytes at `now` (the database's clock, at the latest) or only look it up."""
    # S13: with an attempt open, the same bytes go out again only while the other side surely keeps their key.
    return not effect.open_attempt or now + rules.call < _keys_end(effect, rules)


def _keys_end(effect: Effect, rules: Rules) -> datetime:
    return effect.first_sent_at + rules.honours_keys_for - rules.key_margin


def decide(effect: Effect, answer: Answer | Finding | None, *, sent: bool, rules: Rules) -> Decision:
    """Return what `answer` makes of a claimed effect.

    `sent` tells a call from a look-up (whose answer may be None: there is no look-up).
    """
    settled = _definite(effect, answer, rules)
    if settled is not None:
        return Decision(state="done" if isinstance(settled, Succeeded) else "refused", settled=settled)
    delay = _delay(effect, answer, rules)
    if rules.repeats_for is not None:
        return _again(effect, delay, rules.repeats_for)
    if not effect.open_attempt and isinstance(answer, NotSent | Throttled):
        return Decision(state="pending", delay=delay)
    may_have_arrived = sent and isinstance(answer, NoAnswer)
    return Decision(
        state="unknown",
        delay=delay,
        open_attempt=True,
        sent_until=effect.lease_until if may_have_arrived else effect.sent_until,
    )


def _definite(effect: Effect, answer: Answer | Finding | None, rules: Rules) -> Definite | None:
    """Only an object at the other side is definite by itself; its absence is, when nothing can still arrive."""
    if isinstance(answer, Succeeded | Refused):
        return answer
    if rules.repeats_for is not None:
        return None
    if isinstance(answer, Rejected) and not effect.open_attempt:
        return answer
    if isinstance(answer, NotFound) and _until_settled(effect, rules) == timedelta(0):
        return Rejected(NOT_FOUND)
    return None


def _again(effect: Effect, delay: timedelta, horizon: timedelta) -> Decision:
    """What may happen twice is tried until somebody takes it, or until its horizon."""
    if effect.claimed_at + delay > effect.created_at + horizon:
        return Decision(state="refused", settled=Rejected(RETRY_HORIZON))
    return Decision(state="pending", delay=delay)


def _until_settled(effect: Effect, rules: Rules) -> timedelta | None:
    """Time from the claim until an empty look-up counts; zero: it counts now; None: it never does.

    From the claim, because the look-up began after it: a look-up that began too early proves nothing.
    """
    if rules.settles_within is None or effect.sent_until is None:
        return None
    return max(timedelta(0), effect.sent_until + rules.settles_within - effect.claimed_at)


def _delay(effect: Effect, answer: Answer | Finding | None, rules: Rules) -> timedelta:
    """Slower each time, never before the other side asked for, and no later than an empty look-up counts."""
    if isinstance(answer, Throttled):
        asked_s = min(RETRY_AFTER_MOST_S, max(0.0, answer.retry_after_s))
        jitter_s = backoff_s(0, first_s=rules.retry_first_s, most_s=rules.retry_most_s)
        return timedelta(seconds=asked_s + jitter_s)
    delay = timedelta(seconds=backoff_s(effect.attempts - 1, first_s=rules.retry_first_s, most_s=rules.retry_most_s))
    until_settled = _until_settled(effect, rules) if isinstance(answer, NotFound) else None
    return delay if until_settled is None else min(delay, until_settled)
