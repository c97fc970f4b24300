"""An effect is claimed, called with no transaction open, and settled in one, by the table of states."""

import asyncio
import time
from collections import Counter
from datetime import timedelta

import pytest

from paidonce.app.clock import SystemClock
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.answers import NoAnswer, NotFound, NotSent, Refused, Rejected, Succeeded, Throttled

OK = Succeeded({"id": "ch_1", "status": "captured"})


async def test_a_charge_is_called_and_settled_in_one_transaction(world, charges):
    world.create("p1")
    kind = charges(OK)
    async with world.lane(kind) as lane:
        assert await lane.run_once() == 1
        assert await lane.run_once() == 0
    assert kind.calls == [("p1", b"pay p1")]
    assert kind.settled == [OK]
    assert world.states == {"done": 1}
    same = "SELECT count(DISTINCT t) FROM (SELECT xmin::text t FROM effects UNION ALL SELECT xmin::text FROM settled) x"
    assert world.rows(same) == [(1,)]


async def test_a_refusal_is_settled_and_anything_else_is_not(world, charges):
    answers = [
        Refused("declined", {"id": "ch_1"}),
        Rejected("invalid"),
        NotSent("no route"),
        NoAnswer("5xx"),
    ]
    world.create(*(str(number) for number in range(len(answers))))
    given = {str(number): answer for number, answer in enumerate(answers)}

    async def answer(effect):
        return given[effect.subject]

    kind = charges(answer)
    async with world.lane(kind) as lane:
        await lane.run_once()
    assert world.states == {"refused": 2, "pending": 1, "unknown": 1}
    assert set(map(type, kind.settled)) == {Refused, Rejected}


async def test_no_transaction_is_open_during_a_call(world, charges):
    """S11."""
    world.create("p1")
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        "   AND backend_type = 'client backend'"
    )
    seen = []

    async def look(_effect):
        seen.append(world.rows(query))
        return OK

    async with world.lane(charges(look)) as lane:
        await lane.run_once()
    assert seen == [[(0,)]]


async def test_two_workers_never_run_one_effect_at_once(world, charges):
    subjects = [f"p{number}" for number in range(100)]
    world.create(*subjects)
    kind = charges(OK)
    async with world.lane(kind) as one, world.lane(kind) as other:

        async def drain(lane):
            while await lane.run_once():
                pass

        await asyncio.gather(drain(one), drain(other))
    assert Counter(subject for subject, _ in kind.calls) == Counter(subjects)
    assert world.states == {"done": 100}


async def test_a_pass_takes_the_free_slots_and_the_next_one_the_rest(world, charges):
    world.create(*(f"p{number}" for number in range(17)))
    async with world.lane(charges(OK)) as lane:
        assert [await lane.run_once() for _ in range(3)] == [16, 1, 0]


async def test_silence_is_unknown_and_the_same_bytes_go_out_under_the_same_subject(world, charges):
    world.create("p1")
    answers = iter([NoAnswer("time-out"), NotSent("no route"), OK])

    async def answer(_effect):
        return next(answers)

    kind = charges(answer)
    async with world.lane(kind) as lane:
        await lane.run_once()
        assert world.states == {"unknown": 1}
        world.make_due()
        await lane.run_once()
        assert world.states == {"unknown": 1}, "an attempt is still open"
        world.make_due()
        await lane.run_once()
    assert kind.calls == [("p1", b"pay p1")] * 3
    assert kind.look_ups == []
    assert world.states == {"done": 1}


async def test_after_the_keys_retention_it_only_looks(world, charges):
    world.create("p1")
    kind = charges(NoAnswer("time-out"), finding=NotFound())
    async with world.lane(kind) as lane:
        await lane.run_once()
        world.rows("UPDATE effects SET first_sent_at = first_sent_at - interval '23 hours'")
        world.make_due()
        await lane.run_once()
        assert (len(kind.calls), kind.look_ups, world.states) == (1, ["p1"], {"unknown": 1})
        world.rows("UPDATE effects SET lease_until = lease_until - interval '2 minutes'")
        world.make_due()
        await lane.run_once()
    assert (len(kind.calls), world.states) == (1, {"refused": 1})
    assert kind.settled == [Rejected("not-found")]


async def test_an_answer_that_the_other_side_only_repeats_is_followed_by_a_look_up(world, charges):
    world.create("p1")
    answers = iter([NoAnswer("status 500"), *[NoAnswer("status 500", stored=True)] * 2])

    async def answer(_effect):
        return next(answers)

    kind = charges(answer, finding=NoAnswer("look-up: not ended"))
    async with world.lane(kind) as lane:
        await lane.run_once()
        assert kind.look_ups == []
        world.make_due()
        await lane.run_once()
        assert (kind.look_ups, world.states) == (["p1"], {"unknown": 1})
        kind.finding = OK
        world.make_due()
        await lane.run_once()
    assert (len(kind.calls), len(kind.look_ups), world.states) == (3, 2, {"done": 1})


async def test_keys_that_are_ignored_are_never_sent_again(world, charges):
    world.create("p1")
    kind = charges(NoAnswer("reset"), finding=None, honours_keys_for=timedelta(0), settles_within=None)
    async with world.lane(kind) as lane:
        for _ in range(5):
            assert await lane.run_once() == 1
            world.make_due()
        assert (len(kind.calls), world.states) == (1, {"unknown": 1})
        kind.finding = OK
        await lane.run_once()
    assert (len(kind.calls), world.states) == (1, {"done": 1})


async def test_a_call_is_cut_off_at_its_time_limit(world, charges):
    world.create("p1")

    async def hang(_effect):
        await asyncio.Event().wait()
        raise AssertionError

    async with world.lane(charges(hang, call_s=0.05)) as lane:
        await lane.run_once()
    assert world.states == {"unknown": 1}


async def test_a_kind_that_raises_leaves_it_unknown(world, charges):
    world.create("p1")

    async def fail(_effect):
        raise ZeroDivisionError

    async with world.lane(charges(fail)) as lane:
        await lane.run_once()
    assert world.rows("SELECT state, open_attempt FROM effects") == [("unknown", True)]


class Leaping(SystemClock):
    """A machine that sleeps for a minute between the claim and the call."""

    def __init__(self):
        self.reads = 0

    def monotonic(self):
        self.reads += 1
        return time.monotonic() + (60 if self.reads > 1 else 0)


async def test_nothing_is_sent_under_a_lease_that_ends_before_the_call_would(world, charges):
    world.create("p1")
    kind = charges(OK)
    async with world.lane(kind, clock=Leaping()) as lane:
        assert await lane.run_once() == 1
    assert kind.calls == []
    assert world.states == {"pending": 1}


async def test_a_lease_that_no_call_fits_in_is_refused_at_the_start(world, charges):
    with pytest.raises(ConfigurationError, match="PAIDONCE_EFFECT_LEASE_S"):
        async with world.lane(charges(OK, call_s=3.0)):
            pass


async def test_retry_after_is_honoured(world, charges):
    world.create("p1")
    async with world.lane(charges(Throttled(40.0))) as lane:
        await lane.run_once()
        assert await lane.run_once() == 0
    ((wait,),) = world.rows("SELECT next_attempt_at - now() FROM effects")
    assert timedelta(seconds=35) < wait < timedelta(seconds=41)


async def test_a_webhook_is_repeated_until_its_horizon(world, charges):
    world.create("e1", kind="webhook")
    kind = charges(NoAnswer("500"), name="webhook", repeats_for=timedelta(hours=72), settles_within=None)
    async with world.lane(kind) as lane:
        await lane.run_once()
        assert world.states == {"pending": 1}
        world.rows("UPDATE effects SET created_at = created_at - interval '72 hours'")
        world.make_due()
        await lane.run_once()
    assert (world.states, kind.settled) == ({"refused": 1}, [Rejected("retry-horizon")])


@pytest.mark.parametrize(
    ("finding", "states"),
    [
        (NotFound(), {"refused": 1}),
        (OK, {"done": 1}),
        (NoAnswer("look-up down"), {"unknown": 1}),
    ],
)
async def test_turned_away_after_an_open_attempt_it_looks_up_at_once(world, charges, finding, states):
    """The refusal says nothing of the open attempt; what exists there, after the settle time, does."""
    world.create("p1")
    kind = charges(NoAnswer("reset"), finding=finding, settles_within=timedelta(0))
    async with world.lane(kind) as lane:
        await lane.run_once()
        kind.answer = Rejected("card_expired")
        world.rows("UPDATE effects SET lease_until = now() - interval '1 s'")
        world.make_due()
        await lane.run_once()
    assert (len(kind.calls), kind.look_ups) == (2, ["p1"])
    assert world.states == states


async def test_turned_away_before_the_settle_time_it_waits_for_that_only(world, charges):
    world.create("p1")
    kind = charges(NoAnswer("reset"), finding=NotFound(), settles_within=timedelta(seconds=60))
    async with world.lane(kind) as lane:
        await lane.run_once()
        kind.answer = Rejected("card_expired")
        world.make_due()
        await lane.run_once()
    assert world.states == {"unknown": 1}
    assert world.settlements == 0
