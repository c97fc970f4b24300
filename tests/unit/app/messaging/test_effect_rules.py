"""The whole table of states, and the two promises that follow from it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import example, given, settings
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


@pytest.mark.parametrize(("answer", "fresh", "opened"), CALLS, ids=str)
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


@pytest.mark.parametrize(("finding", "early", "late"), FINDINGS, ids=str)
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
    [
        (7.0, 7.0, 7.5),
        (0.0, 0.0, 0.5),
        (-5.0, 0.0, 0.5),
        (float("nan"), 0.0, 0.5),
        (1e12, RETRY_AFTER_MOST_S, RETRY_AFTER_MOST_S + 0.5),
        (float("inf"), RETRY_AFTER_MOST_S, RETRY_AFTER_MOST_S + 0.5),
    ],
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


#: How long a request can be under way at most.
TRAVEL = timedelta(seconds=60)


@dataclass
class OtherSide:
    """A provider as bad as its promises allow: requests arrive late, and keys are forgotten on time."""

    rules: Rules
    charges: int = 0
    key_born: datetime | None = None
    #: times at which requests arrive
    under_way: tuple[datetime, ...] = ()

    def arrive_until(self, now):
        for at in sorted(at for at in self.under_way if at <= now):
            if self.key_born is None or at >= self.key_born + self.rules.honours_keys_for:
                self.charges, self.key_born = self.charges + 1, at
        self.under_way = tuple(at for at in self.under_way if at > now)

    def take(self, fate, now):
        """A request that was sent meets its fate."""
        if fate in {"answers", "silent", "lease lost"}:
            self.under_way += (now,)
        if fate in {"late", "lost late"}:
            self.under_way += (now + TRAVEL,)
        self.arrive_until(now)
        answers = {"answers": OK, "turned away": TURNED_AWAY, "not sent": NOT_SENT, "throttled": SLOW_DOWN}
        return answers.get(fate, SILENCE)

    def find(self):
        return NO if self.charges else NOTHING


@dataclass
class Row:
    """The effect as the table keeps it between claims."""

    rules: Rules
    side: OtherSide
    now: datetime = T0
    attempts: int = 0
    state: str = "pending"
    settled: object = None
    open_attempt: bool = False
    first_sent_at: datetime | None = None
    sent_until: datetime | None = None

    def claim(self):
        self.attempts += 1
        self.first_sent_at = self.first_sent_at or self.now
        return replace(
            an_effect(open_attempt=self.open_attempt, attempts=self.attempts),
            first_sent_at=self.first_sent_at,
            sent_until=self.sent_until,
            claimed_at=self.now,
            lease_until=self.now + LEASE,
        )

    def live(self, fate, span):
        """One claim, and the time until the next."""
        effect = self.claim()
        sends = may_send(effect, self.rules, self.now)
        if self.open_attempt and sends:
            assert self.now < effect.first_sent_at + self.rules.honours_keys_for, "sent after the key was forgotten"
        self.side.arrive_until(self.now)
        answer = self.side.take(fate, self.now) if sends else self.side.find()
        if fate in {"lease lost", "lost late"}:
            self.open_attempt, self.sent_until = True, effect.lease_until
            self.now += max(span, LEASE)
            return
        decision = decide(effect, answer, sent=sends, rules=self.rules)
        self.state, self.settled = decision.state, decision.settled
        self.open_attempt, self.sent_until = decision.open_attempt, decision.sent_until
        if self.state == "pending":
            self.first_sent_at = None
        self.now += max(span, decision.delay or timedelta(0))


#: what happens to one claim: what the other side does, and how long until the next claim at least
FATES = st.sampled_from(
    ["answers", "silent", "late", "turned away", "not sent", "throttled", "lease lost", "lost late"]
)
SPANS = st.sampled_from([timedelta(0), timedelta(seconds=40), timedelta(minutes=10), timedelta(hours=13)])


def after(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


FIVE_MINUTES = {"honours": after(300), "margin": after(61), "settles": after(60)}


@settings(max_examples=1000, deadline=None)
# Without the margin, the second request would arrive when its key is forgotten.
@example(story=[("silent", after(240)), ("late", after(0))], **FIVE_MINUTES)
# If the settle time ran from the first attempt, the second would be denied while it travels.
@example(story=[("swallowed", after(210)), ("late", after(40)), ("answers", after(0))], **FIVE_MINUTES)
@given(
    story=st.lists(st.tuples(FATES, SPANS), min_size=1, max_size=12),
    honours=st.sampled_from([timedelta(0), timedelta(minutes=5), timedelta(hours=24)]),
    margin=st.sampled_from([timedelta(seconds=61), timedelta(hours=1)]),
    settles=st.sampled_from([None, timedelta(seconds=60), timedelta(hours=1)]),
)
def test_no_story_charges_twice_or_denies_a_charge(story, honours, margin, settles):
    rules = replace(RULES, honours_keys_for=honours, key_margin=margin, settles_within=settles)
    side = OtherSide(rules)
    row = Row(rules, side)
    for fate, span in story:
        if row.state not in {"done", "refused"}:
            row.live(fate, span)
    side.arrive_until(row.now + timedelta(days=9))
    assert side.charges <= 1
    if row.state == "done":
        assert side.charges == 1
    if row.state == "refused" and row.settled != NO:
        assert side.charges == 0, "denied a charge that was made"
