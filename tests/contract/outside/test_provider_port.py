"""What the contract's own adapter and the simulator have beside the suite of every provider, over real HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import orjson
import pytest

from paidonce.app.messaging.answers import (
    NoAnswer,
    NotFound,
    Rejected,
    Succeeded,
)
from paidonce.app.payments.model import Payment
from paidonce.app.payments.provider import Sought, charge_request, provider_key
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


@pytest.fixture(scope="module")
def simulator(start_simulator):
    return start_simulator(slow_s=0.05, timeout_s=30, retry_after_s=7)


@pytest.fixture
async def provider(simulator) -> AsyncIterator[HttpProvider]:
    async with HttpProvider(Settings(provider_url=simulator.url)) as provider:
        yield provider


async def charge(provider: HttpProvider, one: Payment):
    return await provider.charge(provider_key("charge", str(one.id)), charge_request(one))


async def find(provider: HttpProvider, one: Payment):
    return await provider.find("charge", Sought(reference=str(one.id), request=b"", since=NOW, until=None))


def charges(simulator, one: Payment) -> list[tuple]:
    return simulator.rows("SELECT id, status, amount FROM charges WHERE reference = ?", str(one.id))


@pytest.mark.parametrize(
    ("method", "code"), [("pm_rejected", "payment_method_rejected"), ("pm_unheard_of", "payment_method_unknown")]
)
async def test_an_enumerated_4xx_is_rejected_and_holds_nothing(provider, simulator, method, code) -> None:
    one = payment(method)
    assert await charge(provider, one) == Rejected(code)
    assert charges(simulator, one) == []
    assert await find(provider, one) == NotFound()


async def test_too_late_is_no_answer_and_meanwhile_the_key_is_running(provider, simulator) -> None:
    one = payment("pm_timeout")
    async with HttpProvider(Settings(provider_url=simulator.url, effect_call_s=1)) as impatient:
        assert await charge(impatient, one) == NoAnswer("time limit")
    assert await charge(provider, one) == NoAnswer("status 409")
    assert isinstance(await find(provider, one), Succeeded)
    assert len(charges(simulator, one)) == 1


async def test_a_key_used_for_another_body_is_no_answer_because_a_charge_may_exist(provider, simulator) -> None:
    one = payment()
    key = provider_key("charge", str(one.id))
    await charge(provider, one)
    assert await provider.charge(key, charge_request(payment(amount=1))) == NoAnswer("status 422")
    assert len(charges(simulator, one)) == 1


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


async def test_a_key_is_forgotten_after_its_retention_and_a_look_up_lags(start_simulator) -> None:
    forgetful = start_simulator(key_retention_s=0, lookup_lag_s=3600)
    one = payment()
    async with HttpProvider(Settings(provider_url=forgetful.url)) as provider:
        await charge(provider, one)
        await charge(provider, one)
        assert len(charges(forgetful, one)) == 2
        assert await find(provider, one) == NotFound()


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
