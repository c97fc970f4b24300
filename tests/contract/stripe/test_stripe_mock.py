"""Does Stripe's own description of its API know every request that we make? Asked of stripe-mock, which checks them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from paidonce.app.messaging.answers import NoAnswer, NotFound
from paidonce.app.payments import stripe_objects
from paidonce.app.payments.provider import Sought
from paidonce.app.payments.stripe_provider import StripeProvider
from paidonce.app.settings import Settings
from paidonce.devstack.stripe_mock import start_stripe_mock

pytestmark = pytest.mark.stripe

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHARGE = {"amount": 1999, "currency": "EUR", "payment_method": "pm_card_visa", "reference": str(uuid4())}
REFUND = {"charge": "pi_1", "amount": 5, "reference": str(uuid4())}


@pytest.fixture(scope="module")
def url(run) -> str:
    return start_stripe_mock(run)


@pytest.fixture
async def provider(url) -> AsyncIterator[StripeProvider]:
    settings = Settings(provider="stripe", stripe_url=url, stripe_key="sk_test_mock")
    async with StripeProvider(settings) as provider:
        yield provider


def encoded(document: dict) -> bytes:
    return json.dumps(document).encode()


def posted(url: str, path: str, **form) -> httpx.Response:
    return httpx.post(url + path, data=form, headers={"Authorization": "Bearer sk_test_mock"}, trust_env=False)


def test_it_refuses_what_is_not_in_stripes_description(url) -> None:
    good = {"amount": "5", "currency": "eur", "metadata[a]": "b"}
    assert posted(url, "/v1/payment_intents", **good).status_code == 200
    refused = posted(url, "/v1/payment_intents", **good, unheard_of="1")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_charge_is_a_request_that_stripe_knows(provider) -> None:
    # What comes back is made up, an intent in some state; a refused request would be Rejected.
    found = await provider.charge("charge-1", encoded(CHARGE))
    assert isinstance(found, NoAnswer)
    assert found.reason in {"payment_intent requires_payment_method", "not Stripe's answer"}


async def test_a_wrong_charge_would_be_seen(provider, monkeypatch) -> None:
    good = stripe_objects.charge_parameters
    monkeypatch.setattr(stripe_objects, "charge_parameters", lambda asked: {**good(asked), "unheard_of": True})
    assert type(await provider.charge("charge-2", encoded(CHARGE))).__name__ == "Rejected"


async def test_a_refund_is_a_request_that_stripe_knows(provider) -> None:
    found = await provider.refund("refund-1", encoded(REFUND))
    assert isinstance(found, NoAnswer)
    assert found.reason == "not Stripe's answer"  # a made-up refund does not name ours


@pytest.mark.parametrize("until", [None, NOW + timedelta(seconds=30)])
async def test_look_ups_are_requests_that_stripe_knows(provider, until) -> None:
    for kind, request in (("charge", CHARGE), ("refund", REFUND)):
        sought = Sought(reference=request["reference"], request=encoded(request), since=NOW, until=until)
        assert await provider.find(kind, sought) == NotFound()
