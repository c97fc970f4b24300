"""A call to the outside of one's own is an effect: it outlives its worker, and ends as its executor's promises say."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from paidonce import effects
from paidonce.app import db
from paidonce.app.audit import By
from paidonce.app.clock import SystemClock
from paidonce.workers import dead_letters
from paidonce.workers.effect_lane import Lane

BY = By("ann", "command line", "a test")


class Outside:
    """The other side: it keeps what it was asked, and answers as it was told."""

    def __init__(self, *answers: effects.Answer | Exception) -> None:
        self.answers, self.asked, self.settled = list(answers), [], []

    def executor(self, **promises) -> effects.Executor:
        @effects.executor("receipt", settled=self.note, call_s=1.0, **promises)
        async def send(effect: effects.Effect) -> effects.Answer:
            self.asked.append((effect.subject, effect.request))
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return send

    def note(self, tx: Connection, effect: effects.Effect, answer: effects.Definite) -> None:
        tx.execute(text("INSERT INTO shop.reserved (id) VALUES (:id)"), {"id": effect.subject})
        self.settled.append(answer)


@pytest.fixture
def bind_async(shop):
    return db.async_engine(shop.settings, size=2)


async def work(shop, bind_async, executor: effects.Executor, *, passes: int = 1) -> list[str]:
    """Carry out what is due, each pass as if the waiting were over; return the states."""
    lane = Lane(executor, breaker=None, bind=bind_async, settings=shop.settings, clock=SystemClock())
    for _ in range(passes):
        with shop.bind.begin() as tx:
            tx.execute(text("UPDATE effects SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL"))
        await lane.run_once()
    await bind_async.dispose()
    return shop.column("SELECT state FROM effects ORDER BY subject")


def enqueue(shop, *keys: str) -> None:
    with shop.bind.begin() as tx:
        for key in keys:
            effects.enqueue(tx, "receipt", key, {"order": key})


async def test_it_is_sent_once_and_settled_in_the_transaction_that_ends_it(shop, bind_async) -> None:
    outside = Outside(effects.Succeeded({}))
    enqueue(shop, "o-1", "o-1")
    assert await work(shop, bind_async, outside.executor(), passes=2) == ["done"]
    assert outside.asked == [("o-1", b'{"order":"o-1"}')]
    assert shop.column("SELECT id FROM shop.reserved") == ["o-1"]


async def test_what_may_happen_twice_is_tried_until_it_is_taken(shop, bind_async) -> None:
    outside = Outside(
        effects.NoAnswer("time limit"), ValueError("a bug"), effects.NotSent("no server"), effects.Succeeded({})
    )
    enqueue(shop, "o-1")
    executor = outside.executor(repeats_for=timedelta(days=1))
    assert await work(shop, bind_async, executor, passes=4) == ["done"]
    assert outside.asked == [("o-1", b'{"order":"o-1"}')] * 4


async def test_what_must_not_stays_unknown_when_nobody_can_tell(shop, bind_async) -> None:
    outside = Outside(effects.NoAnswer("time limit"))
    enqueue(shop, "o-1")
    assert await work(shop, bind_async, outside.executor(), passes=3) == ["unknown"]
    assert len(outside.asked) == 1


@pytest.mark.slow
async def test_a_repeated_key_is_asked_again_while_the_other_side_keeps_it(shop, bind_async) -> None:
    outside = Outside(effects.NoAnswer("time limit"), effects.Succeeded({"id": "sent-1"}))
    enqueue(shop, "o-1")
    executor = outside.executor(honours_keys_for=timedelta(days=1))
    assert await work(shop, bind_async, executor, passes=2) == ["done"]
    assert len(outside.asked) == 2


@pytest.mark.slow
async def test_a_look_up_tells_what_came_of_it(shop, bind_async) -> None:
    outside = Outside(effects.NoAnswer("time limit"))

    async def look_up(effect: effects.Effect) -> effects.Finding:
        return effects.Succeeded({"id": effect.subject})

    enqueue(shop, "o-1")
    executor = outside.executor(look_up=look_up, settles_within=timedelta(minutes=1))
    assert await work(shop, bind_async, executor, passes=2) == ["done"]
    assert (len(outside.asked), outside.settled) == (1, [effects.Succeeded({"id": "o-1"})])


@pytest.mark.parametrize("repeats", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_what_is_refused_is_a_dead_letter_and_sent_again_only_where_it_may_be(shop, bind_async, repeats) -> None:
    outside = Outside(effects.Refused("smtp-550", {}), effects.Succeeded({}))
    enqueue(shop, "o-1")
    executor = outside.executor(repeats_for=timedelta(days=1) if repeats else None)
    assert await work(shop, bind_async, executor) == ["refused"]
    [letter] = dead_letters.listed(shop.bind, shop.settings, consumer="effect-receipt", state="dead", limit=9)
    assert (letter.message_id, letter.reason) == ("o-1", "smtp-550")
    said = dead_letters.redrive(shop.bind, shop.settings, letter.id, BY)
    if not repeats:
        assert "must not happen twice" in said.refused
        return
    assert said.done == "its receipt is sent again"
    assert await work(shop, bind_async, executor) == ["done"]
    assert shop.column("SELECT state FROM dead_letters") == ["done"]
