"""The whole table of states, and the two promises that follow from it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paidonce.app.messaging.answers import NoAnswer, NotFound, NotSent, Refused, Rejected, Succeeded, Throttled
from paidonce.app.messaging.effect_kinds import Effect
from paidonce.app.messaging.effect_rules import NOT_FOUND, RETRY_AFTER_MOST_S, RETRY_HORIZON, Rules, decide, may_send

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
RULES = Rules(
    honours_keys_for=timedelta(hours=24),
    key_margin=timedelta(hours=1),
    call=timedelta(seconds=10),
    settles_within=timedelta(seconds=60),
    repeats_for=None,
    retry_first_s=0.5,
    retry_most_s=300.0,
)
WEBHOOK = replace(RULES, repeats_for=timedelta(hours=72), settles_within=None, honours_keys_for=timedelta(0))

OK = Succeeded({"id": "ch_1"})
NO = Refused("declined", {"id": "ch_1"})
TURNED_AWAY = Rejected("bad-request")
NOT_SENT = NotSent("refused")
SLOW_DOWN = Throttled(7.0)
SILENCE = NoAnswer("time-out")
NOTHING = NotFound()


def an_effect(*, open_attempt: bool, age: timedelta = timedelta(0), attempts: int = 1, quiet: timedelta | None = None):
    """Claimed at `age` after its first attempt; `quiet` after the end of the last that may have sent."""
    claimed = T0 + age
    return Effect(
        id=UUID(int=1),
        kind="charge",
        subject="p1",
        tenant="acme",
        request=b"{}",
        attempts=attempts,
        open_attempt=open_attempt,
        first_sent_at=T0,
        sent_until=claimed - (quiet or timedelta(0)) if open_attempt else None,
        claim_token=UUID(int=2),
        claimed_at=claimed,
        lease_until=claimed + LEASE,
        created_at=T0,
    )


#: answer to a call, state with nothing open, state with an attempt open
CALLS = [
    (OK, "done", "done"),
    (NO, "refused", "refused"),
    (TURNED_AWAY, "refused", "unknown"),
    (NOT_SENT, "pending", "unknown"),
    (SLOW_DOWN, "pending", "unknown"),
    (SILENCE, "unknown", "unknown"),
]


@pytest.mark.parametrize(("answer", "fresh", "opened"), CALLS, ids=lambda value: str(value))
@pytest.mark.parametrize("age", [timedelta(0), timedelta(hours=22), timedelta(hours=25)])
def test_every_answer_to_a_call(answer, fresh, opened, age):
    for open_attempt, state in ((False, fresh), (True, opened)):
        effect = an_effect(open_attempt=open_attempt, age=age, quiet=timedelta(seconds=1))
        decision = decide(effect, answer, sent=True, rules=RULES)
        assert decision.state == state
        assert decision.settled == (answer if state in {"done", "refused"} else None)
        assert decision.open_attempt == (state == "unknown")
        assert (decision.delay is None) == (state in {"done", "refused"})
        if state == "unknown":
            assert decision.sent_until == (effect.lease_until if answer is SILENCE else effect.sent_until)
        else:
            assert decision.sent_until is None


#: finding of a look-up, state before the other side has settled, state after
FINDINGS = [
    (OK, "done", "done"),
    (NO, "refused", "refused"),
    (NOTHING, "unknown", "refused"),
    (NOT_SENT, "unknown", "unknown"),
    (SILENCE, "unknown", "unknown"),
    (None, "unknown", "unknown"),
]


@pytest.mark.parametrize(("finding", "early", "late"), FINDINGS, ids=lambda value: str(value))
def test_every_finding_of_a_look_up(finding, early, late):
    for quiet, state in ((timedelta(seconds=59.999), early), (timedelta(seconds=60), late)):
        effect = an_effect(open_attempt=True, age=timedelta(hours=30), quiet=quiet)
        decision = decide(effect, finding, sent=False, rules=RULES)
        assert decision.state == state
        assert decision.open_attempt == (state == "unknown")
        assert decision.sent_until == (effect.sent_until if state == "unknown" else None), "a look-up sends nothing"


def test_an_empty_look_up_that_counts_says_that_the_other_side_holds_nothing():
    effect = an_effect(open_attempt=True, quiet=timedelta(hours=1))
    assert decide(effect, NOTHING, sent=False, rules=RULES).settled == Rejected(NOT_FOUND)


def test_an_empty_look_up_never_counts_where_no_settle_time_is_stated():
    effect = an_effect(open_attempt=True, age=timedelta(days=900), quiet=timedelta(days=899), attempts=100_000)
    decision = decide(effect, NOTHING, sent=False, rules=replace(RULES, settles_within=None))
    assert decision.state == "unknown"
    assert timedelta(seconds=150) <= decision.delay <= timedelta(seconds=300)


def test_the_next_look_up_is_no_later_than_the_time_from_which_it_counts():
    effect = an_effect(open_attempt=True, attempts=30, quiet=timedelta(seconds=50))
    assert decide(effect, NOTHING, sent=False, rules=RULES).delay == timedelta(seconds=10)


def test_attempts_alone_never_end_an_effect():
    for attempts, answer in product((1, 30, 10**6), (SILENCE, NOT_SENT, SLOW_DOWN)):
        decision = decide(an_effect(open_attempt=False, attempts=attempts), answer, sent=True, rules=RULES)
        assert decision.state in {"pending", "unknown"}
        assert timedelta(0) < decision.delay <= timedelta(seconds=300)


@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"),
    [(7.0, 7.0, 7.5), (0.0, 0.0, 0.5), (-5.0, 0.0, 0.5), (1e12, RETRY_AFTER_MOST_S, RETRY_AFTER_MOST_S + 0.5)]
    + [(float("nan"), 0.0, 0.5), (float("inf"), RETRY_AFTER_MOST_S, RETRY_AFTER_MOST_S + 0.5)],
)
def test_retry_after_is_honoured_within_reason(asked_s, least_s, most_s):
    decision = decide(an_effect(open_attempt=False, attempts=20), Throttled(asked_s), sent=True, rules=RULES)
    assert timedelta(seconds=least_s) <= decision.delay <= timedelta(seconds=most_s)


@pytest.mark.parametrize(
    ("open_attempt", "honours", "age", "allowed"),
    [
        (False, timedelta(hours=24), timedelta(0), True),
        (False, timedelta(hours=24), timedelta(days=9), True),
        (False, timedelta(0), timedelta(0), True),
        (True, timedelta(hours=24), timedelta(0), True),
        (True, timedelta(hours=24), timedelta(hours=23, seconds=-11), True),
        (True, timedelta(hours=24), timedelta(hours=23, seconds=-10), False),
        (True, timedelta(hours=24), timedelta(hours=24), False),
        (True, timedelta(minutes=30), timedelta(0), False),
        (True, timedelta(0), timedelta(0), False),
    ],
)
def test_the_same_bytes_go_out_again_only_while_their_key_is_kept(open_attempt, honours, age, allowed):
    effect = an_effect(open_attempt=open_attempt, quiet=timedelta(0))
    assert may_send(effect, replace(RULES, honours_keys_for=honours), T0 + age) is allowed


@pytest.mark.parametrize("answer", [TURNED_AWAY, NOT_SENT, SLOW_DOWN, SILENCE])
def test_what_may_happen_twice_is_tried_again(answer):
    decision = decide(an_effect(open_attempt=False, attempts=9), answer, sent=True, rules=WEBHOOK)
    assert (decision.state, decision.open_attempt, decision.sent_until) == ("pending", False, None)


@pytest.mark.parametrize(("answer", "state"), [(OK, "done"), (NO, "refused")])
def test_what_may_happen_twice_ends_when_it_is_taken_or_refused(answer, state):
    decision = decide(an_effect(open_attempt=False), answer, sent=True, rules=WEBHOOK)
    assert (decision.state, decision.settled) == (state, answer)


def test_what_may_happen_twice_ends_at_its_horizon():
    decision = decide(an_effect(open_attempt=False, age=timedelta(hours=72)), SILENCE, sent=True, rules=WEBHOOK)
    assert (decision.state, decision.settled) == ("refused", Rejected(RETRY_HORIZON))


@dataclass
class OtherSide:
    """A provider as its promises allow it to be at worst: what is in flight lands late, keys are forgotten on time."""

    rules: Rules
    charges: int = 0
    key_born: datetime | None = None
    #: times at which requests that are still under way arrive
    under_way: tuple[datetime, ...] = ()

    def arrive_until(self, now: datetime) -> None:
        for at in sorted(at for at in self.under_way if at <= now):
            known = self.key_born is not None and at < self.key_born + self.rules.honours_keys_for
            if not known:
                self.charges, self.key_born = self.charges + 1, at
        self.under_way = tuple(at for at in self.under_way if at > now)


#: what happens to one claim: what the other side does, and how long until the next claim at least
FATES = st.sampled_from(
    ["answers", "silent", "late", "turned away", "not sent", "throttled", "lease lost", "lost late"]
)
SPANS = st.sampled_from([timedelta(0), timedelta(seconds=40), timedelta(minutes=10), timedelta(hours=13)])


@settings(max_examples=400, deadline=None)
@given(
    story=st.lists(st.tuples(FATES, SPANS), min_size=1, max_size=12),
    honours=st.sampled_from([timedelta(0), timedelta(minutes=5), timedelta(hours=24)]),
    margin=st.sampled_from([timedelta(seconds=61), timedelta(hours=1)]),
    settles=st.sampled_from([None, timedelta(seconds=60), timedelta(hours=1)]),
)
def test_no_story_charges_twice_or_denies_a_charge(story, honours, margin, settles):
    rules = replace(RULES, honours_keys_for=honours, key_margin=margin, settles_within=settles)
    lag = settles if settles is not None else timedelta(seconds=60)
    side, now = OtherSide(rules), T0
    first_sent_at, open_attempt, sent_until, state = None, False, None, "pending"
    for attempts, (fate, span) in enumerate(story, start=1):
        lease_until = now + LEASE
        first_sent_at = first_sent_at or now
        effect = replace(
            an_effect(open_attempt=open_attempt, attempts=attempts),
            first_sent_at=first_sent_at,
            sent_until=sent_until,
            claimed_at=now,
            lease_until=lease_until,
        )
        sends = may_send(effect, rules, now)
        if open_attempt and sends:
            assert now < first_sent_at + honours, "sent again after the key was forgotten"
        side.arrive_until(now)
        if fate in {"lease lost", "lost late"}:
            if sends:
                slow = lease_until + lag - timedelta(microseconds=1)
                side.under_way += (now if fate == "lease lost" else min(slow, now + timedelta(seconds=60)),)
            open_attempt, sent_until, now = True, lease_until, max(now + span, lease_until)
            continue
        answer = None
        if not sends:
            answer = NO if side.charges else NOTHING
        elif fate == "answers":
            side.under_way += (now,)
            side.arrive_until(now)
            answer = OK
        elif fate in {"silent", "late"}:
            side.under_way += (now if fate == "silent" else min(lease_until + lag, now + timedelta(seconds=60)),)
            answer = SILENCE
        else:
            answer = {"turned away": TURNED_AWAY, "not sent": NOT_SENT, "throttled": SLOW_DOWN}[fate]
        decision = decide(effect, answer, sent=sends, rules=rules)
        state, open_attempt, sent_until = decision.state, decision.open_attempt, decision.sent_until
        if state in {"done", "refused"}:
            break
        if state == "pending":
            first_sent_at = None
        now = max(now + span, now + decision.delay)
    side.arrive_until(now + timedelta(days=9))
    assert side.charges <= 1
    if state == "done":
        assert side.charges == 1
    if state == "refused" and decision.settled != NO:
        assert side.charges == 0, "denied a charge that was made"
