"""What of the effects is open, how the other side answers, and its breaker, as /metrics shows them."""

import pytest
from prometheus_client import REGISTRY

from paidonce.app import db
from paidonce.app.breaker import Breaker
from paidonce.app.clock import SystemClock
from paidonce.app.messaging.answers import NoAnswer, Succeeded
from paidonce.workers.effects_meter import measure_once, watch

OK = Succeeded({"id": "ch_1", "status": "captured"})


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def answers(name: str) -> float:
    return sample("paidonce_effect_answers_total", kind="charge", asked="call", answer=name)


@pytest.fixture
async def bind(world):
    engine = db.async_engine(world.settings, size=1)
    yield engine
    await engine.dispose()


async def test_what_is_open_is_counted_with_its_age_and_what_ended_is_not(world, charges, bind):
    async def answer(effect):
        return OK if effect.subject == "good" else NoAnswer("5xx")

    world.create("good", "lost")
    before = {name: answers(name) for name in ("Succeeded", "NoAnswer")}
    ended = sample("paidonce_effects_ended_total", kind="charge", state="done")
    calls = sample("paidonce_effect_call_duration_seconds_count", kind="charge", asked="call")
    async with world.lane(charges(answer)) as lane:
        await lane.run_once()
    world.create("waits")
    world.rows("UPDATE effects SET created_at = created_at - interval '1 hour' WHERE subject = 'lost'")
    await measure_once(bind, ["charge", "refund"])
    seen = {state: sample("paidonce_effects_open", kind="charge", state=state) for state in ("pending", "unknown")}
    assert seen == {"pending": 1, "unknown": 1}
    assert 3_600 <= sample("paidonce_effects_oldest_age_seconds", kind="charge", state="unknown") < 3_660
    assert sample("paidonce_effects_oldest_age_seconds", kind="charge", state="running") == 0
    assert {name: answers(name) - count for name, count in before.items()} == {"Succeeded": 1, "NoAnswer": 1}
    assert sample("paidonce_effects_ended_total", kind="charge", state="done") - ended == 1
    assert sample("paidonce_effect_call_duration_seconds_count", kind="charge", asked="call") - calls == 2
    assert REGISTRY.get_sample_value("paidonce_effects_open", {"kind": "refund", "state": "unknown"}) == 0


async def test_what_is_open_no_more_falls_to_zero(world, bind):
    world.create("p1")
    await measure_once(bind, ["charge"])
    assert sample("paidonce_effects_open", kind="charge", state="pending") == 1
    world.rows("UPDATE effects SET state = 'done'")
    await measure_once(bind, ["charge"])
    assert REGISTRY.get_sample_value("paidonce_effects_open", {"kind": "charge", "state": "pending"}) == 0
    assert REGISTRY.get_sample_value("paidonce_effects_oldest_age_seconds", {"kind": "charge", "state": "pending"}) == 0


async def test_dead_letters_that_no_consumer_of_the_topic_counts_are_counted_here(world, bind):
    for consumer in ("webhook-delivery", "provider-alarms", "provider-alarms"):
        row = f"'{consumer}', gen_random_uuid(), '{{}}', 'r'"
        world.rows(f"INSERT INTO dead_letters (consumer, message_id, envelope, reason) VALUES ({row})")
    await measure_once(bind, [])
    of = ("webhook-delivery", "provider-webhook", "provider-alarms")
    assert [REGISTRY.get_sample_value("paidonce_consumer_dead_letters", {"consumer": one}) for one in of] == [1, 0, 2]


def test_the_breaker_shows_until_somebody_answers():
    breaker = Breaker(SystemClock(), failures=1, open_s=0.0)
    watch("test", breaker)
    assert sample("paidonce_circuit_breaker_open", circuit="test") == 0
    breaker.enter()
    breaker.report(alive=False)
    assert sample("paidonce_circuit_breaker_open", circuit="test") == 1
    assert breaker.enter()
    assert sample("paidonce_circuit_breaker_open", circuit="test") == 1, "a probe alone closes nothing"
    breaker.report(alive=True)
    assert sample("paidonce_circuit_breaker_open", circuit="test") == 0
