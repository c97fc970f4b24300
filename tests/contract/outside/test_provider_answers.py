"""Each thing that a provider, or whatever stands in front of it, can say, and what we make of it."""

import json
from datetime import UTC, datetime

import pytest

from paidonce.app.messaging.answers import NoAnswer, NotFound, Refused, Rejected, Succeeded, Throttled
from paidonce.app.payments.provider import Sought
from paidonce.app.payments.provider_http import ANSWER_BYTES_MAX, HttpProvider
from paidonce.app.settings import Settings

CHARGE = {"id": "ch_1", "status": "captured", "amount": 5, "currency": "EUR", "reference": "p1", "decline_code": None}
REFUND = {"id": "re_1", "status": "succeeded", "charge": "ch_1", "amount": 5, "reference": "r1", "failure_code": None}
CHARGE_REQUEST = json.dumps({"amount": 5, "currency": "EUR", "payment_method": "pm_ok", "reference": "p1"}).encode()
REFUND_REQUEST = json.dumps({"charge": "ch_1", "amount": 5, "reference": "r1"}).encode()

SOUGHT = Sought(reference="p1", request=CHARGE_REQUEST, since=datetime(2026, 1, 1, tzinfo=UTC), until=None)


class StillClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def http(status: str, body: object = b"", headers: str = "") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode() + content


async def said(raw_server, reply: bytes, method: str = "charge", limit_s: float = 5.0):
    server = await raw_server(lambda _: reply)
    async with HttpProvider(Settings(provider_url=server.url, effect_call_s=limit_s), clock=StillClock()) as provider:
        match method:
            case "charge":
                found = await provider.charge("k", CHARGE_REQUEST)
            case "refund":
                found = await provider.refund("k", REFUND_REQUEST)
            case _:
                found = await provider.find("charge", SOUGHT)
    assert len(server.requests) == 1
    return found


async def test_a_capture_and_a_refund(raw_server) -> None:
    assert await said(raw_server, http("201 Created", CHARGE)) == Succeeded(CHARGE)
    assert await said(raw_server, http("201 Created", REFUND), "refund") == Succeeded(REFUND)


async def test_members_that_we_do_not_know_are_passed_over(raw_server) -> None:
    assert await said(raw_server, http("201 Created", CHARGE | {"livemode": True})) == Succeeded(CHARGE)


async def test_declined_and_failed(raw_server) -> None:
    declined = CHARGE | {"status": "declined", "decline_code": "lost_card"}
    failed = REFUND | {"status": "failed", "failure_code": None}
    assert await said(raw_server, http("201 Created", declined)) == Refused("lost_card", declined)
    assert await said(raw_server, http("201 Created", failed), "refund") == Refused("failed", failed)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 50_000,
        CHARGE | {"amount": 6},
        CHARGE | {"amount": "5"},
        CHARGE | {"amount": 5.0},
        CHARGE | {"currency": "USD"},
        CHARGE | {"reference": "p2"},
        CHARGE | {"status": "pending"},
        CHARGE | {"id": None},
        {name: value for name, value in CHARGE.items() if name != "reference"},
        CHARGE | {"padding": "x" * ANSWER_BYTES_MAX},
    ],
    ids=range(15),
)
async def test_a_201_with_anything_else_is_no_answer(raw_server, body) -> None:
    assert isinstance(await said(raw_server, http("201 Created", body)), NoAnswer)


@pytest.mark.parametrize("wrong", [{"charge": "ch_2"}, {"amount": 6}, {"reference": "r2"}, {"status": "captured"}])
async def test_a_refund_of_something_else_is_no_answer(raw_server, wrong) -> None:
    assert isinstance(await said(raw_server, http("201 Created", REFUND | wrong), "refund"), NoAnswer)


@pytest.mark.parametrize("status", ["400 Bad Request", "402 Payment Required", "404 Not Found"])
async def test_the_enumerated_4xx_are_rejections_only_in_the_contracts_form(raw_server, status) -> None:
    assert await said(raw_server, http(status, {"error": {"code": "card_blocked"}})) == Rejected("card_blocked")
    odd = http(status, {"error": {"code": "Sorry, Ms Smith!\n"}})
    assert await said(raw_server, odd) == Rejected(f"provider-{status[:3]}")
    assert isinstance(await said(raw_server, http(status, b"<html>nginx</html>")), NoAnswer)
    assert isinstance(await said(raw_server, http(status, {"error": "no"})), NoAnswer)


@pytest.mark.parametrize(
    "status",
    [200, 202, 204, 301, 302, 307, 308, 401, 403, 405, 408, 409, 410, 413, 415, 422, 423, 425, 451, 500, 502, 503, 504],
)
async def test_every_other_status_is_no_answer(raw_server, status) -> None:
    reply = http(f"{status} Whatever", {"error": {"code": "x"}} if status != 204 else b"", "Location: /v1/charges\r\n")
    assert await said(raw_server, reply) == NoAnswer(f"status {status}")


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("Retry-After: 30\r\n", 30.0),
        ("Retry-After: Thu, 01 Jan 2026 00:01:30 GMT\r\n", 90.0),
        ("Retry-After: Thu, 01 Jan 2020 00:00:00 GMT\r\n", 0.0),
        ("", 1.0),
        ("Retry-After: -5\r\n", 1.0),
        ("Retry-After: soon\r\n", 1.0),
        ("Retry-After: 1e9\r\n", 1.0),
        ("Retry-After: 99999999999999999999\r\n", 1.0),
        ("Retry-After: Thu, 01 Jan 2026 00:01:30\r\n", 1.0),
    ],
)
async def test_429_is_throttled_for_as_long_as_it_says(raw_server, header, wait_s) -> None:
    assert await said(raw_server, http("429 Too Many Requests", b"", header)) == Throttled(wait_s)


@pytest.mark.parametrize(
    "reply",
    [
        b"close",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{",
        b"HTTP/1.1 201 Created\r\nContent-Length: nonsense\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=range(7),
)
async def test_what_is_not_an_answer_is_no_answer(raw_server, reply) -> None:
    assert isinstance(await said(raw_server, reply, limit_s=0.5), NoAnswer)


async def test_an_answer_that_drips_does_not_outlast_the_time_limit(raw_server) -> None:
    head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    assert await said(raw_server, head, limit_s=0.5) == NoAnswer("time limit")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"data": []}, NotFound()),
        ({"data": [CHARGE]}, Succeeded(CHARGE)),
        (
            {"data": [CHARGE | {"id": "ch_0", "status": "declined", "decline_code": "no"}, CHARGE]},
            Succeeded(CHARGE),
        ),
    ],
)
async def test_a_look_up(raw_server, body, found) -> None:
    assert await said(raw_server, http("200 OK", body), "find") == found


async def test_several_objects_are_said_aloud(raw_server, caplog, capsys) -> None:
    two = {"data": [CHARGE, CHARGE | {"id": "ch_2"}]}
    assert await said(raw_server, http("200 OK", two), "find") == Succeeded(CHARGE)
    spoken = capsys.readouterr()
    assert "provider_has_several_objects" in caplog.text + spoken.out + spoken.err


@pytest.mark.parametrize(
    "reply",
    [
        http("200 OK", b""),
        http("200 OK", b"[]"),
        http("200 OK", b"<html>no charges here</html>"),
        http("200 OK", {"data": None}),
        http("200 OK", {"data": {}}),
        http("200 OK", {"data": ""}),
        http("200 OK", {"charges": []}),
        http("200 OK", {"data": [CHARGE | {"reference": "p2"}]}),
        http("200 OK", {"data": [{"id": "ch_1"}]}),
        http("200 OK", {"data": [], "padding": "x" * ANSWER_BYTES_MAX}),
        http("404 Not Found", {"data": []}),
        http("500 Oops", {"data": []}),
        http("302 Found", {"data": []}, "Location: /elsewhere\r\n"),
    ],
    ids=range(13),
)
async def test_only_the_contracts_list_of_our_reference_is_a_finding(raw_server, reply) -> None:
    assert isinstance(await said(raw_server, reply, "find"), NoAnswer)
