"""Each thing that Stripe, or whatever stands in front of it, can say, and what we make of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.answers import NoAnswer, NotFound, Refused, Rejected, Succeeded, Throttled
from paidonce.app.payments.provider import Sought
from paidonce.app.payments.provider_chosen import open_provider
from paidonce.app.payments.stripe_provider import StripeProvider
from paidonce.app.settings import Settings

KEY = "sk_test_51secret"
INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "succeeded",
    "amount": 5,
    "amount_received": 5,
    "currency": "eur",
    "metadata": {"paidonce_reference": "p1"},
    "last_payment_error": None,
}
REFUND = {
    "id": "re_1",
    "object": "refund",
    "status": "succeeded",
    "amount": 5,
    "payment_intent": "pi_1",
    "metadata": {"paidonce_reference": "r1"},
}
FAILED = {
    "status": "requires_payment_method",
    "amount_received": 0,
    "last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"},
}
CHARGE_REQUEST = json.dumps({"amount": 5, "currency": "EUR", "payment_method": "pm_1", "reference": "p1"}).encode()
REFUND_REQUEST = json.dumps({"charge": "pi_1", "amount": 5, "reference": "r1"}).encode()
SENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
REPEATED = "Idempotent-Replayed: true\r\n"


def http(status: str, body: object = b"", headers: str = "") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode() + content


def error(type_: str, code: str | None = None, **more) -> dict:
    return {"error": {"type": type_, "code": code, "message": "Sorry.", **more}}


def settings(url: str = "http://127.0.0.1:1", **more) -> Settings:
    return Settings(provider="stripe", stripe_url=url, stripe_key=KEY, effect_call_s=5, **more)


async def said(raw_server, *replies: bytes, method: str = "charge", until: datetime | None = SENT):
    """Return what we make of these answers, one a request, and the requests."""
    server = await raw_server(lambda number: replies[number - 1])
    async with StripeProvider(settings(server.url)) as provider:
        match method:
            case "charge":
                found = await provider.charge("k", CHARGE_REQUEST)
            case "refund":
                found = await provider.refund("k", REFUND_REQUEST)
            case "find":
                sought = Sought(reference="p1", request=CHARGE_REQUEST, since=SENT, until=until)
                found = await provider.find("charge", sought)
            case _:
                found = await provider.find(
                    "refund", Sought(reference="r1", request=REFUND_REQUEST, since=SENT, until=until)
                )
    assert len(server.requests) == len(replies)
    return found, [request.decode() for request in server.requests]


async def test_a_charge_is_one_intent_confirmed_and_captured_at_once_under_our_key(raw_server) -> None:
    found, (request,) = await said(raw_server, http("200 OK", INTENT))
    assert isinstance(found, Succeeded)
    assert dict(found.body) == {
        "id": "pi_1", "status": "captured", "amount": 5, "currency": "EUR", "reference": "p1", "decline_code": None,
    }  # fmt: skip
    head, _, form = request.partition("\r\n\r\n")
    assert head.startswith("POST /v1/payment_intents ")
    lines = head.lower().split("\r\n")
    assert {"idempotency-key: k", f"authorization: bearer {KEY}".lower()} <= set(lines)
    assert not any(line.startswith("x-stripe-client-telemetry") for line in lines)
    assert sorted(form.split("&")) == [
        "allowed_payment_method_types[0]=card",
        "amount=5",
        "capture_method=automatic",
        "confirm=true",
        "currency=eur",
        "error_on_requires_action=true",
        "metadata[paidonce_reference]=p1",
        "payment_method=pm_1",
    ]


async def test_a_refund_is_one_of_its_intent(raw_server) -> None:
    found, (request,) = await said(raw_server, http("200 OK", REFUND), method="refund")
    assert isinstance(found, Succeeded)
    assert (found.body["charge"], found.body["status"]) == ("pi_1", "succeeded")
    head, _, form = request.partition("\r\n\r\n")
    assert head.startswith("POST /v1/refunds ")
    assert sorted(form.split("&")) == ["amount=5", "metadata[paidonce_reference]=r1", "payment_intent=pi_1"]


async def test_a_decline_carries_its_intent(raw_server) -> None:
    body = error("card_error", "card_declined", decline_code="lost_card", payment_intent=INTENT | FAILED)
    found, _ = await said(raw_server, http("402 Payment Required", body))
    assert isinstance(found, Refused)
    assert (found.code, found.body["id"], found.body["status"]) == ("lost_card", "pi_1", "declined")


@pytest.mark.parametrize("status", ["failed", "canceled"])
async def test_a_refund_that_failed_is_refused(raw_server, status) -> None:
    failed = REFUND | {"status": status, "failure_reason": "lost_or_stolen_card" if status == "failed" else None}
    found, _ = await said(raw_server, http("200 OK", failed), method="refund")
    assert isinstance(found, Refused)
    assert found.code == ("lost_or_stolen_card" if status == "failed" else "canceled")


@pytest.mark.parametrize(
    "change",
    [
        {"status": "processing"},
        {"status": "requires_action"},
        {"status": "requires_capture"},
        {"status": "requires_confirmation"},
        {"status": "requires_payment_method"},
        {"status": "something_new"},
        {"amount_received": 4},
        {"amount": 6, "amount_received": 6},
        {"currency": "usd"},
        {"metadata": {"paidonce_reference": "p2"}},
        {"metadata": {}},
        {"metadata": None},
        {"id": None},
        {"object": "charge"},
        {"amount": "5"},
    ],
    ids=str,
)
async def test_an_intent_that_is_not_ours_or_has_not_ended_is_no_answer(raw_server, change) -> None:
    found, _ = await said(raw_server, http("200 OK", INTENT | change))
    assert isinstance(found, NoAnswer)
    assert not found.stored


@pytest.mark.parametrize("change", [{"status": "pending"}, {"payment_intent": "pi_2"}, {"amount": 4}, {"metadata": {}}])
async def test_a_refund_that_is_not_ours_or_has_not_ended_is_no_answer(raw_server, change) -> None:
    assert isinstance((await said(raw_server, http("200 OK", REFUND | change), method="refund"))[0], NoAnswer)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("500 Oops", error("api_error")),
        ("503 Away", error("api_error")),
        ("200 OK", INTENT | {"status": "processing"}),
        ("409 Conflict", error("invalid_request_error", "whatever")),
    ],
)
async def test_what_stripe_repeats_from_its_memory_is_said_so(raw_server, status, body) -> None:
    first, _ = await said(raw_server, http(status, body))
    again, _ = await said(raw_server, http(status, body, REPEATED))
    assert (first.stored, again.stored) == (False, True)


async def test_a_definite_answer_from_its_memory_is_definite(raw_server) -> None:
    assert isinstance((await said(raw_server, http("200 OK", INTENT, REPEATED)))[0], Succeeded)


@pytest.mark.parametrize(
    ("status", "type_", "code"),
    [
        ("400 Bad Request", "invalid_request_error", "resource_missing"),
        ("404 Not Found", "invalid_request_error", "resource_missing"),
        ("402 Payment Required", "card_error", "expired_card"),
    ],
)
async def test_the_enumerated_4xx_are_rejections_only_in_stripes_form(raw_server, status, type_, code) -> None:
    assert (await said(raw_server, http(status, error(type_, code))))[0] == Rejected(code)
    assert (await said(raw_server, http(status, error(type_))))[0] == Rejected(f"provider-{status[:3]}")
    assert (await said(raw_server, http(status, error(type_, "Ms Smith!\n"))))[0] == Rejected(f"provider-{status[:3]}")
    for odd in (b"<html>proxy</html>", {"error": "no"}, {"error": {}}, {"error": {"code": "x"}}, []):
        assert isinstance((await said(raw_server, http(status, odd)))[0], NoAnswer)


async def test_other_parameters_under_our_key_may_mean_that_a_charge_exists(raw_server) -> None:
    found, _ = await said(raw_server, http("400 Bad Request", error("idempotency_error", "idempotency_key_reused")))
    assert found == NoAnswer("idempotency_error", stored=True)


@pytest.mark.parametrize("status", [401, 403, 405, 409, 500, 502, 503])
async def test_every_other_status_is_no_answer(raw_server, status) -> None:
    found, _ = await said(raw_server, http(f"{status} Whatever", error("invalid_request_error", "x")))
    assert found == NoAnswer(f"status {status}")


async def test_only_the_rate_limit_is_surely_without_an_effect(raw_server) -> None:
    limited = http("429 Slow", error("invalid_request_error", "rate_limit"), "Retry-After: 3\r\n")
    assert (await said(raw_server, limited))[0] == Throttled(3.0)
    locked = http("429 Slow", error("invalid_request_error", "lock_timeout"))
    assert isinstance((await said(raw_server, locked))[0], NoAnswer)


@pytest.mark.parametrize("currency", ["ISK", "MGA", "UGX"])
async def test_a_currency_that_stripe_counts_otherwise_is_rejected_unsent(raw_server, currency) -> None:
    server = await raw_server(lambda _: http("200 OK", INTENT))
    async with StripeProvider(settings(server.url)) as provider:
        asked = json.loads(CHARGE_REQUEST) | {"currency": currency}
        assert await provider.charge("k", json.dumps(asked).encode()) == Rejected("currency_not_supported")
    assert server.connections == 0


def page(*objects: dict, more: bool = False) -> bytes:
    return http("200 OK", {"object": "list", "data": list(objects), "has_more": more})


def other(number: int) -> dict:
    return INTENT | {"id": f"pi_{number}", "metadata": {}}


async def test_a_look_up_reads_every_page_of_the_time_of_sending_first(raw_server) -> None:
    found, requests = await said(raw_server, page(other(8), other(7), more=True), page(INTENT), method="find")
    assert isinstance(found, Succeeded)
    sent = int(SENT.timestamp())
    assert f"created[gte]={sent - 300}&created[lte]={sent + 300}" in requests[0]
    assert "starting_after=pi_7" in requests[1]


async def test_only_lists_that_were_read_to_their_end_prove_an_absence(raw_server) -> None:
    found, requests = await said(raw_server, page(other(8)), page(other(9)), method="find")
    assert found == NotFound()
    assert f"created[gt]={int(SENT.timestamp()) + 300}" in requests[1]
    for odd in (
        http("500 Oops", error("api_error")),
        http("200 OK", []),
        http("200 OK", {"data": []}),
        page(more=True),
    ):
        assert isinstance((await said(raw_server, page(other(8), more=True), odd, method="find"))[0], NoAnswer)


async def test_a_refund_is_looked_up_by_its_intent(raw_server) -> None:
    found, (request,) = await said(raw_server, page(REFUND | {"metadata": {}}, REFUND), method="find refund")
    assert isinstance(found, Succeeded)
    assert "payment_intent=pi_1" in request


async def test_of_several_what_moved_money_counts_then_what_still_may(raw_server) -> None:
    declined, going = INTENT | FAILED | {"id": "pi_2"}, INTENT | {"id": "pi_3", "status": "processing"}
    assert isinstance((await said(raw_server, page(declined, going, INTENT), method="find"))[0], Succeeded)
    assert isinstance((await said(raw_server, page(declined, going), method="find"))[0], NoAnswer)
    assert isinstance((await said(raw_server, page(declined), method="find"))[0], Refused)


def test_keys_are_kept_a_day_and_nothing_is_said_of_settling_unless_it_is_set() -> None:
    silent, told = StripeProvider(settings()), StripeProvider(settings(provider_settles_within_s=90))
    assert (silent.honours_keys_for, silent.settles_within) == (timedelta(hours=24), None)
    assert told.settles_within == timedelta(seconds=90)
    assert StripeProvider(settings(provider_honours_keys_s=10**6)).honours_keys_for == timedelta(hours=24)
    assert StripeProvider(settings(provider_honours_keys_s=0)).honours_keys_for == timedelta(0)


def test_a_key_that_is_missing_or_would_travel_in_the_clear_is_refused_without_being_said() -> None:
    for key in ("", "pk_test_public", "whsec_x"):
        with pytest.raises(ConfigurationError, match="PAIDONCE_STRIPE_KEY") as refused:
            open_provider(settings().model_copy(update={"stripe_key": SecretStr(key)}))
        assert not key or key not in str(refused.value)
    with pytest.raises(ConfigurationError, match="https") as refused:
        open_provider(settings("http://stripe.example"))
    assert KEY not in str(refused.value)


async def test_neither_key_nor_body_is_logged(raw_server, caplog, capfd) -> None:
    caplog.set_level("DEBUG")
    secret_body = http("400 Bad Request", b"not json, card 4242")
    assert isinstance((await said(raw_server, secret_body))[0], NoAnswer)
    await said(raw_server, http("200 OK", INTENT | {"status": "processing"}))
    spoken = "".join(capfd.readouterr()) + caplog.text
    assert "provider_answer_is_not_definite" in spoken
    assert not [secret for secret in (KEY, "4242", "pm_1") if secret in spoken]
