"""Standard Webhooks, both ways, and what a hostile sender puts into the headers."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from paidonce.app.errors import ConfigurationError
from paidonce.app.webhooks.signing import TOLERANCE, WebhookSignatureError, check_secret, sign, verify

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
NOW = datetime(2026, 5, 1, 12, 0, 0, 900_000, tzinfo=UTC)
BODY = '{"name":"Zoë"}'.encode()


def test_the_specifications_own_example() -> None:
    """https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md."""
    headers = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_what_we_sign_we_and_the_library_accept() -> None:
    headers = sign(SECRET, "evt_1-A", NOW, BODY)
    assert verify(SECRET, headers, BODY, now=NOW) == "evt_1-A"
    now = sign(SECRET, "evt_1-A", datetime.now(UTC), BODY)
    Webhook(SECRET).verify(BODY, now)


def test_one_of_several_signatures_is_enough_whatever_stands_beside_it() -> None:
    headers = sign(SECRET, "e", NOW, BODY)
    good = headers["webhook-signature"]
    for beside in (
        "v1a,xxxx",
        "nonsense",
        ",",
        "v1,",
        "v1,%%%",
        "v2," + good[3:],
        sign(OTHER, "e", NOW, BODY)["webhook-signature"],
    ):
        assert verify(SECRET, headers | {"webhook-signature": f"{beside} {good}"}, BODY, now=NOW) == "e"
        assert verify(SECRET, headers | {"webhook-signature": f"{good} {beside}"}, BODY, now=NOW) == "e"
        with pytest.raises(WebhookSignatureError):
            verify(SECRET, headers | {"webhook-signature": beside}, BODY, now=NOW)


def test_only_so_many_signatures_are_looked_at() -> None:
    headers = sign(SECRET, "e", NOW, BODY)
    good = headers["webhook-signature"]
    assert verify(SECRET, headers | {"webhook-signature": " ".join(["v1,x"] * 7 + [good])}, BODY, now=NOW)
    with pytest.raises(WebhookSignatureError):
        verify(SECRET, headers | {"webhook-signature": " ".join(["v1,x"] * 8 + [good])}, BODY, now=NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "f"},
        {"webhook-id": ""},
        {"webhook-id": "e.1777636800"},
        {"webhook-id": "e\0"},
        {"webhook-id": "e\n"},
        {"webhook-id": "e" * 256},
        {"webhook-id": "é"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1777636801"},
        {"webhook-timestamp": "1777636800.0"},
        {"webhook-timestamp": "+1777636800"},
        {"webhook-timestamp": " 1777636800"},
        {"webhook-timestamp": "1_777_636_800"},
        {"webhook-timestamp": "١٧٧٧٦٣٦٨٠٠"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": ""},
        {"webhook-signature": "\ud800"},
    ],
)
def test_another_header_is_refused(changed) -> None:
    headers = sign(SECRET, "e", NOW, BODY)
    assert headers["webhook-timestamp"] == "1777636800"
    with pytest.raises(WebhookSignatureError):
        verify(SECRET, headers | changed, BODY, now=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(missing) -> None:
    headers = sign(SECRET, "e", NOW, BODY)
    del headers[missing]
    with pytest.raises(WebhookSignatureError):
        verify(SECRET, headers, BODY, now=NOW)


def test_another_body_or_secret_is_refused() -> None:
    headers = sign(SECRET, "e", NOW, BODY)
    for body in (BODY + b" ", b"", b"\xff\xfe"):
        with pytest.raises(WebhookSignatureError):
            verify(SECRET, headers, body, now=NOW)
    with pytest.raises(WebhookSignatureError):
        verify(OTHER, headers, BODY, now=NOW)


@pytest.mark.parametrize("late", [TOLERANCE, -TOLERANCE])
def test_the_tolerance_goes_both_ways_and_ends(late) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    headers = sign(SECRET, "e", at, BODY)
    assert verify(SECRET, headers, BODY, now=at + late) == "e"
    beyond = late + timedelta(seconds=1 if late > timedelta(0) else -1)
    with pytest.raises(WebhookSignatureError):
        verify(SECRET, headers, BODY, now=at + beyond)


@given(
    webhook_id=st.text(max_size=300),
    timestamp=st.text(max_size=30) | st.just("1777636800"),
    signature=st.text(max_size=300) | st.text(alphabet="v1,=abc ", max_size=60),
    body=st.binary(max_size=100),
)
def test_whatever_comes_is_refused_and_nothing_else_is_raised(webhook_id, timestamp, signature, body) -> None:
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    with pytest.raises(WebhookSignatureError):
        verify(SECRET, headers, body, now=NOW)


@given(st.binary(min_size=24, max_size=64))
def test_every_secret_of_24_to_64_bytes_is_one(secret) -> None:
    check_secret("whsec_" + base64.b64encode(secret).decode())


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_" + "%" * 44,
        "whsec_" + "é" * 44,
        "whsec_" + base64.b64encode(b"k" * 32).decode().rstrip("="),
        "whsec_" + base64.b64encode(b"k" * 32).decode() + "\n",
        "WHSEC_" + base64.b64encode(b"k" * 32).decode(),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(secret) -> None:
    for use in (check_secret, lambda one: sign(one, "e", NOW, BODY)):
        with pytest.raises(ValueError, match="a webhook secret is") as refused:
            use(secret)
        assert len(secret) < 10 or secret not in str(refused.value)
    with pytest.raises(ConfigurationError):
        verify(secret, sign(SECRET, "e", NOW, BODY), BODY, now=NOW)


def test_an_id_that_could_be_read_in_two_ways_is_not_signed() -> None:
    for webhook_id in ("a.1", "", "a b", "a" * 256):
        with pytest.raises(ValueError, match="webhook-id"):
            sign(SECRET, webhook_id, NOW, BODY)
