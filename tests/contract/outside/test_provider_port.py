"""The provider port's contract, over real HTTP against the simulator: one suite for whoever speaks the other side."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from paidonce.app.messaging.answers import (
    NoAnswer,
    NotFound,
    NotSent,
    Refused,
    Rejected,
    Succeeded,
    Throttled,
)
from paidonce.app.payments.model import Payment, Refund
from paidonce.app.payments.provider import charge_request, provider_key, refund_request
from paidonce.app.payments.provider_http import HttpProvider
from paidonce.app.settings import Settings

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def payment(payment_method: str = "pm_ok", amount: int = 1999) -> Payment:
    return Payment(
        id=uuid4(),
        tenant="acme",
        amount=amount,
        currency="EUR",
        payment_method=payment_method,
        created_at=NOW,
        updated_at=NOW,
    )


def refund(amount: int, id_: UUID | None = None) -> Refund:
    return Refund(id=id_ or uuid4(), payment_id=uuid4(), tenant="acme", amount=amount, created_at=NOW, updated_at=NOW)


@pytest.fixture(scope="module")
def simulator(start_simulator):
    return start_simulator(slow_s=0.05, timeout_s=30, retry_after_s=7)


@pytest.fixture
async def provider(simulator) -> AsyncIterator[HttpProvider]:
    async with HttpProvider(Settings(provider_url=simulator.url)) as provider:
        yield provider


async def charge(provider: HttpProvider, one: Payment):
    return await provider.charge(provider_key("charge", str(one.id)), charge_request(one))


def charges(simulator, one: Payment) -> list[tuple]:
    return simulator.rows("SELECT id, status, amount FROM charges WHERE reference = ?", str(one.id))


@pytest.mark.parametrize("method", ["pm_ok", "pm_slow", "pm_refund_fails"])
async def test_a_capture_is_succeeded_and_a_repeated_key_is_the_same_capture(provider, simulator, method) -> None:
    one = payment(method)
    first, second = await charge(provider, one), await charge(provider, one)
    assert isinstance(first, Succeeded)
    assert second == first
    assert (first.body["status"], first.body["amount"], first.body["reference"]) == ("captured", 1999, str(one.id))
    assert charges(simulator, one) == [(first.body["id"], "captured", 1999)]


async def test_a_decline_is_refused(provider, simulator) -> None:
    one = payment("pm_declined")
    found = await charge(provider, one)
    assert isinstance(found, Refused)
    assert found.code == "insufficient_funds"
    assert await provider.find("charge", str(one.id)) == found


@pytest.mark.parametrize(
    ("method", "code"), [("pm_rejected", "payment_method_rejected"), ("pm_unheard_of", "payment_method_unknown")]
)
async def test_an_enumerated_4xx_is_rejected_and_holds_nothing(provider, simulator, method, code) -> None:
    one = payment(method)
    assert await charge(provider, one) == Rejected(code)
    assert charges(simulator, one) == []
    assert await provider.find("charge", str(one.id)) == NotFound()


@pytest.mark.parametrize("method", ["pm_reset_after", "pm_500_after", "pm_garbage_after", "pm_mismatch_after"])
async def test_a_lost_answer_is_no_answer_and_the_same_key_finds_the_one_charge(provider, simulator, method) -> None:
    one = payment(method)
    assert isinstance(await charge(provider, one), NoAnswer)
    assert [row[1] for row in charges(simulator, one)] == ["captured"]
    assert isinstance(await provider.find("charge", str(one.id)), Succeeded)
    assert isinstance(await charge(provider, one), Succeeded)
    assert len(charges(simulator, one)) == 1


@pytest.mark.parametrize("method", ["pm_reset_before", "pm_500_before"])
async def test_a_failure_without_an_effect_looks_the_same(provider, simulator, method) -> None:
    one = payment(method)
    assert isinstance(await charge(provider, one), NoAnswer)
    assert charges(simulator, one) == []
    assert isinstance(await charge(provider, one), Succeeded)
    assert len(charges(simulator, one)) == 1


async def test_too_late_is_no_answer_and_meanwhile_the_key_is_running(provider, simulator) -> None:
    one = payment("pm_timeout")
    async with HttpProvider(Settings(provider_url=simulator.url, effect_call_s=1)) as impatient:
        assert await charge(impatient, one) == NoAnswer("time limit")
    assert await charge(provider, one) == NoAnswer("status 409")
    assert isinstance(await provider.find("charge", str(one.id)), Succeeded)
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
    assert await provider.charge(key, charge_request(payment(amount=1))) == NoAnswer("status 422")
    assert len(charges(simulator, one)) == 1


async def test_fifty_at_once_under_one_key_are_one_charge(provider, simulator) -> None:
    one = payment("pm_slow")
    found = await asyncio.gather(*(charge(provider, one) for _ in range(50)))
    assert len(charges(simulator, one)) == 1
    assert {type(each) for each in found} <= {Succeeded, NoAnswer}
    assert sum(isinstance(each, Succeeded) for each in found) >= 1
    assert all(each.reason == "status 409" for each in found if isinstance(each, NoAnswer))


async def captured(provider: HttpProvider, method: str = "pm_ok") -> str:
    found = await charge(provider, payment(method))
    assert isinstance(found, Succeeded)
    return found.body["id"]


async def send_refund(provider: HttpProvider, one: Refund, charge_id: str):
    return await provider.refund(provider_key("refund", str(one.id)), refund_request(one, charge_id))


async def test_refunds_succeed_until_the_charge_is_used_up(provider) -> None:
    charge_id = await captured(provider)
    first, too_much, rest = refund(1000), refund(1000), refund(999)
    found = await send_refund(provider, first, charge_id)
    assert isinstance(found, Succeeded)
    assert found.body["status"] == "succeeded"
    assert await send_refund(provider, first, charge_id) == found
    refused = await send_refund(provider, too_much, charge_id)
    assert isinstance(refused, Refused)
    assert refused.code == "amount_exceeds_charge"
    assert isinstance(await send_refund(provider, rest, charge_id), Succeeded)
    assert await provider.find("refund", str(first.id)) == found
    assert await provider.find("refund", str(too_much.id)) == refused


async def test_a_refund_fails_as_its_charge_was_made_to(provider) -> None:
    found = await send_refund(provider, refund(1), await captured(provider, "pm_refund_fails"))
    assert isinstance(found, Refused)
    assert found.body["status"] == "failed"


@pytest.mark.parametrize("method", ["pm_refund_reset_after", "pm_refund_500_after", "pm_refund_garbage_after"])
async def test_a_refunds_lost_answer_is_found_again(provider, simulator, method) -> None:
    one, charge_id = refund(500), await captured(provider, method)
    assert isinstance(await send_refund(provider, one, charge_id), NoAnswer)
    assert isinstance(await provider.find("refund", str(one.id)), Succeeded)
    assert isinstance(await send_refund(provider, one, charge_id), Succeeded)
    assert simulator.rows("SELECT count(*) FROM refunds WHERE reference = ?", str(one.id)) == [(1,)]


async def test_a_refund_of_no_charge_is_rejected(provider) -> None:
    assert await send_refund(provider, refund(1), "ch_none") == Rejected("charge_not_found")


async def test_nobody_there_is_not_sent(unused_tcp_port) -> None:
    async with HttpProvider(Settings(provider_url=f"http://127.0.0.1:{unused_tcp_port}")) as provider:
        assert await charge(provider, payment()) == NotSent("ConnectError")
        assert await provider.find("charge", "x") == NotSent("ConnectError")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"", "k1"),
        (b"{", "k2"),
        (b"\xff\xfe", "k3"),
        (b"[]", "k4"),
        (b'{"amount": 1.5, "currency": "EUR", "payment_method": "pm_ok", "reference": "r"}', "k5"),
        (b'{"amount": 9223372036854775808, "currency": "EUR", "payment_method": "pm_ok", "reference": "r"}', "k6"),
        (b'{"amount": 0, "currency": "EUR", "payment_method": "pm_ok", "reference": "r"}', "k7"),
        (b'{"amount": 1, "currency": "eur", "payment_method": "pm_ok", "reference": "r"}', "k8"),
        (b'{"amount": 1, "currency": "EUR", "payment_method": "pm_ok", "reference": "r", "more": 1}', "k9"),
        (b'{"amount": 1, "currency": "EUR", "payment_method": "pm_ok", "reference": "r"}', None),
        (b'{"amount": 1, "currency": "EUR", "payment_method": "pm_ok", "reference": "r"}', "k" * 256),
    ],
)
async def test_a_malformed_request_is_a_400_and_is_in_the_journal(simulator, body, key) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    async with httpx.AsyncClient() as client:
        found = await client.post(simulator.url + "/v1/charges", content=body, headers=headers)
    assert found.status_code == 400
    assert set(orjson.loads(found.content)["error"]) == {"code"}
    assert simulator.rows("SELECT status FROM calls WHERE body = ? AND idem_key IS ?", body, key) == [(400,)]
    assert simulator.rows("SELECT count(*) FROM charges WHERE reference = 'r'") == [(0,)]


async def test_the_journal_has_every_request_as_it_came_and_its_answer(provider, simulator) -> None:
    one = payment("pm_reset_after")
    await charge(provider, one)
    found = await charge(provider, one)
    rows = simulator.rows(
        "SELECT method, path, idem_key, body, status, answer FROM calls WHERE reference = ? ORDER BY n", str(one.id)
    )
    asked = ("POST", "/v1/charges", f"charge-{one.id}", charge_request(one))
    assert [row[:5] for row in rows] == [(*asked, None), (*asked, 201)]
    assert orjson.loads(rows[1][5])["id"] == found.body["id"]


async def test_a_provider_that_ignores_keys_charges_twice_and_its_look_up_takes_the_money_that_moved(
    start_simulator,
) -> None:
    careless = start_simulator(honours_keys="false")
    one = payment()
    async with HttpProvider(Settings(provider_url=careless.url)) as provider:
        first, second = await charge(provider, one), await charge(provider, one)
        assert first.body["id"] != second.body["id"]
        assert (await provider.find("charge", str(one.id))).body["id"] == first.body["id"]


async def test_a_key_is_forgotten_after_its_retention_and_a_look_up_lags(start_simulator) -> None:
    forgetful = start_simulator(key_retention_s=0, lookup_lag_s=3600)
    one = payment()
    async with HttpProvider(Settings(provider_url=forgetful.url)) as provider:
        await charge(provider, one)
        await charge(provider, one)
        assert len(charges(forgetful, one)) == 2
        assert await provider.find("charge", str(one.id)) == NotFound()


async def test_flaky_is_decided_by_the_seed_and_everything_ends_at_one_charge(start_simulator) -> None:
    flaky = start_simulator(seed=7)
    ones = [payment("pm_flaky") for _ in range(40)]
    async with HttpProvider(Settings(provider_url=flaky.url)) as provider:
        first = [await charge(provider, one) for one in ones]
        assert any(not isinstance(found, Succeeded) for found in first)
        for _ in range(20):
            if all([isinstance(await charge(provider, one), Succeeded) for one in ones]):
                break
        assert [len(charges(flaky, one)) for one in ones] == [1] * 40
