"""What every provider's adapter must do, whichever it is: one suite, over real HTTP, for each that we have.

Another adapter joins by a `Side` (docs/providers.md).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from paidonce.app.messaging.answers import NoAnswer, NotFound, NotSent, Refused, Rejected, Succeeded, Throttled
from paidonce.app.payments.model import Payment, Refund
from paidonce.app.payments.provider import Provider, Sought, charge_request, provider_key, refund_request
from paidonce.app.payments.provider_chosen import open_provider
from paidonce.app.settings import Settings


@dataclass(frozen=True)
class Side:
    """One adapter, and a simulator that speaks its provider's dialect."""

    name: str
    settings: Callable[[str], Settings]
    #: the first answer to a key, a 500 too, is what every repetition gets
    keeps_answers: bool
    #: what a refund that is too much becomes: an object that failed, or nothing
    too_much: type
    ids: tuple[str, str]


SIDES = [
    Side("contract", lambda url: Settings(provider_url=url), False, Refused, ("ch_", "re_")),
    Side(
        "stripe",
        lambda url: Settings(provider="stripe", stripe_url=url, stripe_key="sk_test_suite"),
        True,
        Rejected,
        ("pi_", "re_"),
    ),
]


@pytest.fixture(scope="module", params=SIDES, ids=lambda side: side.name)
def side(request) -> Side:
    return request.param


@pytest.fixture(scope="module")
def simulator(start_simulator, side):
    return start_simulator(dialect=side.name, slow_s=0.05, timeout_s=30, retry_after_s=7)


def opened(side: Side, url: str, **changes) -> AbstractAsyncContextManager[Provider]:
    return open_provider(side.settings(url).model_copy(update=changes))


@pytest.fixture
async def provider(side, simulator) -> AsyncIterator[Provider]:
    async with opened(side, simulator.url) as provider:
        yield provider


def answer(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def payment(payment_method: str = "pm_ok", amount: int = 1999) -> Payment:
    now = datetime.now(UTC)
    return Payment(
        id=uuid4(),
        tenant="acme",
        amount=amount,
        currency="EUR",
        payment_method=payment_method,
        created_at=now,
        updated_at=now,
    )


def refund(amount: int) -> Refund:
    now = datetime.now(UTC)
    return Refund(id=uuid4(), payment_id=uuid4(), tenant="acme", amount=amount, created_at=now, updated_at=now)


async def charge(provider: Provider, one: Payment):
    return await provider.charge(provider_key("charge", str(one.id)), charge_request(one))


async def find(provider: Provider, one: Payment):
    sent_until = one.created_at + timedelta(seconds=30)
    sought = Sought(reference=str(one.id), request=charge_request(one), since=one.created_at, until=sent_until)
    return await provider.find("charge", sought)


async def send_refund(provider: Provider, one: Refund, charge_id: str):
    return await provider.refund(provider_key("refund", str(one.id)), refund_request(one, charge_id))


async def find_refund(provider: Provider, one: Refund, charge_id: str):
    request = refund_request(one, charge_id)
    return await provider.find(
        "refund", Sought(reference=str(one.id), request=request, since=one.created_at, until=None)
    )


async def captured(provider: Provider, method: str = "pm_ok") -> str:
    found = await charge(provider, payment(method))
    assert isinstance(found, Succeeded)
    return found.body["id"]


def charges(simulator, one: Payment) -> list[tuple]:
    return simulator.rows("SELECT id, status, amount FROM charges WHERE reference = ?", str(one.id))


def ended_or_stored(side: Side, answer) -> bool:
    """A repetition tells the truth, or, where the provider keeps its answers, that only a look-up will."""
    return isinstance(answer, Succeeded) or (side.keeps_answers and isinstance(answer, NoAnswer) and answer.stored)


@pytest.mark.parametrize("method", ["pm_ok", "pm_slow", "pm_refund_fails"])
async def test_a_capture_is_succeeded_and_a_repeated_key_is_the_same_capture(provider, simulator, side, method) -> None:
    one = payment(method)
    first, second = await charge(provider, one), await charge(provider, one)
    assert isinstance(first, Succeeded)
    assert second == first
    assert first.body["id"].startswith(side.ids[0])
    said = {name: first.body[name] for name in ("status", "amount", "currency", "reference")}
    assert said == {"status": "captured", "amount": 1999, "currency": "EUR", "reference": str(one.id)}
    assert charges(simulator, one) == [(first.body["id"], "captured", 1999)]
    assert await find(provider, one) == first


async def test_a_decline_is_refused_each_time_and_found(provider) -> None:
    one = payment("pm_declined")
    found = await charge(provider, one)
    assert isinstance(found, Refused)
    assert (found.code, found.body["status"]) == ("insufficient_funds", "declined")
    assert await charge(provider, one) == found
    assert await find(provider, one) == found


@pytest.mark.parametrize("method", ["pm_rejected", "pm_unheard_of"])
async def test_a_request_that_is_turned_away_is_rejected_and_holds_nothing(provider, simulator, method) -> None:
    one = payment(method)
    assert isinstance(await charge(provider, one), Rejected)
    assert charges(simulator, one) == []
    assert await find(provider, one) == NotFound()


@pytest.mark.parametrize("method", ["pm_reset_after", "pm_500_after", "pm_garbage_after", "pm_mismatch_after"])
async def test_a_lost_answer_is_no_answer_and_never_a_second_charge(provider, simulator, side, method) -> None:
    one = payment(method)
    first = await charge(provider, one)
    assert isinstance(first, NoAnswer)
    assert not first.stored
    assert [row[1] for row in charges(simulator, one)] == ["captured"]
    assert isinstance(await find(provider, one), Succeeded)
    assert ended_or_stored(side, await charge(provider, one))
    assert len(charges(simulator, one)) == 1


@pytest.mark.parametrize("method", ["pm_reset_before", "pm_500_before"])
async def test_a_failure_without_an_effect_looks_the_same(provider, simulator, side, method) -> None:
    one = payment(method)
    assert isinstance(await charge(provider, one), NoAnswer)
    assert charges(simulator, one) == []
    assert await find(provider, one) == NotFound()
    again = await charge(provider, one)
    assert ended_or_stored(side, again)
    assert len(charges(simulator, one)) == isinstance(again, Succeeded)


async def test_too_late_is_no_answer_and_meanwhile_the_key_is_running(provider, simulator, side) -> None:
    one = payment("pm_timeout")
    async with opened(side, simulator.url, effect_call_s=1) as impatient:
        assert await charge(impatient, one) == NoAnswer("time limit")
        during = await charge(impatient, one)
        assert isinstance(during, NoAnswer | Succeeded)
    assert isinstance(await find(provider, one), Succeeded)
    assert len(charges(simulator, one)) == 1


async def test_429_is_throttled_with_the_time_to_wait_and_without_an_effect(provider, simulator) -> None:
    one = payment("pm_429")
    assert await charge(provider, one) == Throttled(7.0)
    assert charges(simulator, one) == []
    assert isinstance(await charge(provider, one), Succeeded)


async def test_a_key_used_for_another_body_is_no_answer_because_a_charge_may_exist(provider, simulator) -> None:
    one = payment()
    key = provider_key("charge", str(one.id))
    await charge(provider, one)
    assert isinstance(await provider.charge(key, charge_request(payment(amount=1))), NoAnswer)
    assert len(charges(simulator, one)) == 1


async def test_fifty_at_once_under_one_key_are_one_charge(provider, simulator) -> None:
    one = payment("pm_slow")
    found = await asyncio.gather(*(charge(provider, one) for _ in range(50)))
    assert len(charges(simulator, one)) == 1
    assert {type(each) for each in found} <= {Succeeded, NoAnswer}
    assert sum(isinstance(each, Succeeded) for each in found) >= 1
    assert not any(each.stored for each in found if isinstance(each, NoAnswer))


async def test_refunds_succeed_until_the_charge_is_used_up(provider, side) -> None:
    charge_id = await captured(provider)
    first, too_much, rest = refund(1000), refund(1000), refund(999)
    found = await send_refund(provider, first, charge_id)
    assert isinstance(found, Succeeded)
    said = {name: found.body[name] for name in ("status", "amount", "charge", "reference")}
    assert said == {"status": "succeeded", "amount": 1000, "charge": charge_id, "reference": str(first.id)}
    assert await send_refund(provider, first, charge_id) == found
    refused = await send_refund(provider, too_much, charge_id)
    assert isinstance(refused, side.too_much)
    assert isinstance(await send_refund(provider, rest, charge_id), Succeeded)
    assert await find_refund(provider, first, charge_id) == found
    assert await find_refund(provider, too_much, charge_id) == (refused if side.too_much is Refused else NotFound())


async def test_a_refund_fails_as_its_charge_was_made_to(provider) -> None:
    one, charge_id = refund(1), await captured(provider, "pm_refund_fails")
    found = await send_refund(provider, one, charge_id)
    assert isinstance(found, Refused)
    assert (found.code, found.body["status"]) == ("insufficient_funds", "failed")
    assert await find_refund(provider, one, charge_id) == found


@pytest.mark.parametrize("method", ["pm_refund_reset_after", "pm_refund_500_after", "pm_refund_garbage_after"])
async def test_a_refunds_lost_answer_is_found_and_it_is_one(provider, simulator, side, method) -> None:
    one, charge_id = refund(500), await captured(provider, method)
    assert isinstance(await send_refund(provider, one, charge_id), NoAnswer)
    assert isinstance(await find_refund(provider, one, charge_id), Succeeded)
    assert ended_or_stored(side, await send_refund(provider, one, charge_id))
    assert simulator.rows("SELECT count(*) FROM refunds WHERE reference = ?", str(one.id)) == [(1,)]


async def test_a_refund_of_no_charge_is_rejected(provider) -> None:
    assert isinstance(await send_refund(provider, refund(1), "ch_none"), Rejected)


async def test_nobody_there_is_not_sent(side, unused_tcp_port) -> None:
    async with opened(side, f"http://127.0.0.1:{unused_tcp_port}") as provider:
        one = payment()
        assert await charge(provider, one) == NotSent("ConnectError")
        assert await find(provider, one) == NotSent("ConnectError")
        assert await send_refund(provider, refund(1), "ch_1") == NotSent("ConnectError")


async def test_a_server_that_speaks_something_else_is_no_answer(side, raw_server) -> None:
    for said in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ):
        server = await raw_server(lambda _, said=said: said)
        async with opened(side, server.url) as provider:
            one = payment()
            assert isinstance(await charge(provider, one), NoAnswer)
            assert isinstance(await find(provider, one), NoAnswer)
            assert isinstance(await find_refund(provider, refund(1), "ch_1"), NoAnswer)
        assert len(server.requests) == 3


async def test_each_call_is_one_request_whatever_comes_back(side, raw_server) -> None:
    for said in (
        b"close",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 409 No\r\nContent-Length: 0\r\n\r\n",
    ):
        server = await raw_server(lambda _, said=said: said)
        async with opened(side, server.url) as provider:
            assert isinstance(await charge(provider, payment()), NoAnswer)
        assert len(server.requests) == 1


async def test_of_two_charges_under_one_reference_the_money_that_moved_is_found(provider, simulator) -> None:
    one = payment()
    first, second = await charge(provider, one), await provider.charge("another-key", charge_request(one))
    assert first.body["id"] != second.body["id"]
    assert (await find(provider, one)).body["id"] in {first.body["id"], second.body["id"]}
    assert len(charges(simulator, one)) == 2
