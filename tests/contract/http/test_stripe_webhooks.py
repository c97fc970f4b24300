"""Stripe's webhooks at the running API: signed by Stripe's scheme, worked on once, and of ours only what is ours."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import orjson
import pytest
from pydantic import SecretStr

from paidonce.app.clock import new_id
from paidonce.app.main import config
from paidonce.app.webhooks import signing
from paidonce.devstack.pace import new_secret
from paidonce.devstack.provider import stripe_form

SECRET = new_secret()


@pytest.fixture(scope="module")
def stripes(api_settings) -> object:
    changes = {"provider": "stripe", "stripe_webhook_secret": SecretStr(SECRET)}
    return api_settings.model_copy(update=changes)


@pytest.fixture
def stripe_api(stripes, serving) -> Iterator[httpx.Client]:
    with serving(config(stripes)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def charge(reference: object, status: str = "captured") -> dict:
    return {
        "id": f"pi_{reference}",
        "status": status,
        "decline_code": None if status == "captured" else "lost_card",
        "amount": 1999,
        "currency": "EUR",
        "created": 1,
        "reference": str(reference),
    }


def event(type_: str, document: dict) -> bytes:
    return stripe_form.event(type_, document, 1)[1]


def headers(body: bytes, *, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    return stripe_form.sign(secret, "", at or datetime.now(UTC), body) | {
        "Content-Type": "application/json; charset=utf-8"
    }


def sent(client: httpx.Client, body: bytes, **how) -> httpx.Response:
    return client.post("/webhooks/provider", content=body, headers=headers(body, **how))


def charging_payment(rows) -> UUID:
    one = new_id()
    rows.execute(
        "INSERT INTO payments (id, tenant, status, amount, currency, payment_method)"
        " VALUES (%s, 'acme', 'charging', 1999, 'EUR', 'pm_card_visa')",
        [one],
    )
    return one


def payment(rows, one: UUID) -> tuple:
    return rows.execute("SELECT status, provider_charge_id, decline_code FROM payments WHERE id = %s", [one]).fetchone()


def test_events_settle_payments_and_refunds_once(stripe_api, rows) -> None:
    good, bad = charging_payment(rows), charging_payment(rows)
    captured = event("payment_intent.succeeded", stripe_form.intent(charge(good)))
    for _ in range(2):
        assert sent(stripe_api, captured).status_code == 204
    assert payment(rows, good) == ("captured", f"pi_{good}", None)
    declined = stripe_form.intent(charge(bad, "declined"))
    assert sent(stripe_api, event("payment_intent.payment_failed", declined)).status_code == 204
    assert payment(rows, bad) == ("declined", f"pi_{bad}", "lost_card")
    refund = new_id()
    rows.execute(
        "INSERT INTO refunds (id, payment_id, tenant, status, amount) VALUES (%s, %s, 'acme', 'refunding', 5)",
        [refund, good],
    )
    made = {"id": "re_1", "status": "succeeded", "charge": f"pi_{good}", "amount": 5, "created": 1}
    document = stripe_form.refund(made | {"reference": str(refund), "failure_code": None})
    assert sent(stripe_api, event("refund.updated", document | {"status": "pending"})).status_code == 204
    assert sent(stripe_api, event("refund.created", document)).status_code == 204
    assert rows.execute("SELECT status FROM refunds WHERE id = %s", [refund]).fetchone() == ("succeeded",)


def test_what_is_not_ours_or_tells_nothing_is_taken_and_left(stripe_api, rows) -> None:
    one = charging_payment(rows)
    ours = stripe_form.intent(charge(one))
    before = rows.execute("SELECT count(*) FROM dead_letters").fetchone()
    for type_, document in (
        ("customer.created", {"id": "cus_1"}),
        ("payment_intent.created", ours),
        ("payment_intent.succeeded", ours | {"metadata": {}}),
        ("payment_intent.succeeded", ours | {"status": "processing"}),
    ):
        assert sent(stripe_api, event(type_, document)).status_code == 204
    assert payment(rows, one) == ("charging", None, None)
    assert rows.execute("SELECT count(*) FROM dead_letters").fetchone() == before


def test_forged_and_stale_events_change_nothing(stripe_api, rows) -> None:
    one = charging_payment(rows)
    body = event("payment_intent.succeeded", stripe_form.intent(charge(one)))
    now = datetime.now(UTC)
    good = headers(body)["Stripe-Signature"]
    moment, _, signature = good.partition(",v1=")
    forged = [
        headers(body, secret=new_secret()),
        headers(body, at=now - timedelta(minutes=6)),
        headers(body, at=now + timedelta(minutes=6)),
        headers(body + b" "),
        {"Stripe-Signature": ""},
        {"Stripe-Signature": moment},
        {"Stripe-Signature": f"{moment},v0={signature}"},
        {"Stripe-Signature": f"t=1,{good}"},
        {"Stripe-Signature": f"{good},t={int(now.timestamp())}"},
        {"Stripe-Signature": "t=99999999999999999999,v1=00"},
        {"Stripe-Signature": "v1=,t="},
        {},
        signing.sign(SECRET, "msg_1", now, body),
    ]
    for one_header in forged:
        answered = stripe_api.post(
            "/webhooks/provider", content=body, headers={"Content-Type": "application/json"} | one_header
        )
        assert (answered.status_code, answered.json()["code"]) == (400, "webhook-signature"), one_header
    twice = [("Content-Type", "application/json"), ("Stripe-Signature", good), ("Stripe-Signature", good)]
    assert stripe_api.post("/webhooks/provider", content=body, headers=twice).status_code == 400
    assert payment(rows, one) == ("charging", None, None)


def test_while_a_secret_is_replaced_either_signature_will_do(stripe_api, rows) -> None:
    one = charging_payment(rows)
    body = event("payment_intent.succeeded", stripe_form.intent(charge(one)))
    other = headers(body, secret=new_secret())["Stripe-Signature"]
    both = other + "," + headers(body)["Stripe-Signature"].partition(",")[2]
    given = {"Content-Type": "application/json", "Stripe-Signature": both}
    assert stripe_api.post("/webhooks/provider", content=body, headers=given).status_code == 204
    assert payment(rows, one)[0] == "captured"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"\xff",
        b"{",
        orjson.dumps({"id": "evt_1", "type": "payment_intent.succeeded"}),
        orjson.dumps({"id": "evt/1", "type": "payment_intent.succeeded", "data": {"object": {}}}),
        event("payment_intent.succeeded", {"metadata": {"paidonce_reference": "x"}}),
        event("refund.created", stripe_form.intent(charge("x"))),
    ],
    ids=range(8),
)
def test_a_signed_body_that_is_no_event_is_a_400(stripe_api, body) -> None:
    assert sent(stripe_api, body).status_code == 400


def test_without_a_secret_none_is_taken(stripes, serving) -> None:
    body = event("customer.created", {})
    bare = stripes.model_copy(update={"stripe_webhook_secret": SecretStr("")})
    with serving(config(bare)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert sent(client, body).status_code == 503
