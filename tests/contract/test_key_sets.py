"""When are the issuer's keys fetched, which of them are used, and who waits? Against a real server on loopback."""

import asyncio
import gzip
import json

import pytest
from structlog.testing import capture_logs

from paidonce.app.auth.jwks import BYTES_MAX, KEYS_MAX, KeySetRefusedError, checked_url, usable_keys
from paidonce.app.auth.keyset import KeySet
from paidonce.app.auth.verifier import VERIFIED_MAX, Verifier
from paidonce.app.errors import ConfigurationError, InvalidTokenError, KeySetUnavailableError
from paidonce.app.settings import Settings


@pytest.fixture
async def keys(auth_settings, set_clock):
    made = KeySet(auth_settings, set_clock)
    yield made
    await made.close()


@pytest.fixture
def verifier(auth_settings, keys, set_clock):
    return Verifier(auth_settings, keys, set_clock)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def bearer(token: bytes) -> list[bytes]:
    return [b"Bearer " + token]


async def test_a_known_key_causes_one_fetch(keys, key_server):
    for _ in range(3):
        assert await keys.key("key-1")
    assert key_server.asked == 1


async def test_fifty_unknown_keys_at_once_cause_one_fetch_for_which_all_wait(keys, key_server, set_clock, issuer):
    await keys.open()
    set_clock.seconds += 5
    key_server.gate.clear()
    asking = [asyncio.create_task(keys.key(f"new-{n % 2}")) for n in range(26)]
    await until(lambda: key_server.asked == 2)
    set_clock.seconds += 5  # the cool-down is over, and the fetch still runs: later ones join it
    asking += [asyncio.create_task(keys.key(f"new-{n % 2}")) for n in range(24)]
    assert not any(task.done() for task in asking)
    key_server.publish(issuer.jwk(), issuer.jwk(kid="new-0"))
    key_server.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert key_server.asked == 2
    assert [isinstance(answer, InvalidTokenError) for answer in answers] == [False, True] * 25


async def test_unknown_keys_cause_no_fetch_within_the_cooldown(keys, key_server, set_clock):
    await keys.open()
    for seconds, asked in ((0, 1), (4.9, 1), (0.2, 2), (0, 2)):
        set_clock.seconds += seconds
        with pytest.raises(InvalidTokenError):
            await keys.key("made-up")
        assert key_server.asked == asked


async def test_one_waiter_that_gives_up_does_not_end_the_fetch_of_the_others(keys, key_server):
    key_server.gate.clear()
    impatient, patient = (asyncio.create_task(keys.key("key-1")) for _ in range(2))
    await until(lambda: key_server.asked == 1)
    impatient.cancel()
    await asyncio.wait({impatient})
    key_server.gate.set()
    assert await patient
    assert key_server.asked == 1


async def test_a_set_is_refreshed_ahead_of_its_end_while_known_keys_do_not_wait(keys, key_server, set_clock):
    await keys.open()
    set_clock.seconds += 800
    key_server.gate.clear()
    assert await keys.key("key-1")  # answered, although the fetch that it started is held
    await until(lambda: key_server.asked == 2)
    key_server.gate.set()
    set_clock.seconds += 700  # the first set's end is over, the second's is not
    await until(keys.fresh)
    assert await keys.key("key-1")


async def test_a_set_that_could_not_be_refreshed_ends(keys, key_server, set_clock):
    await keys.open()
    key_server.send(b"", "500 Internal Server Error")
    set_clock.seconds += 999
    assert await keys.key("key-1")
    set_clock.seconds += 2
    with pytest.raises(KeySetUnavailableError):
        await keys.key("key-1")


async def test_without_any_set_the_answer_is_503_and_the_next_set_mends_it(keys, key_server, set_clock, issuer):
    key_server.send(b"", "503 Service Unavailable")
    await keys.open()
    with pytest.raises(KeySetUnavailableError) as refused:
        await keys.key("key-1")
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert key_server.asked == 1
    key_server.publish(issuer.jwk())
    set_clock.seconds += 5
    assert await keys.key("key-1")


async def test_nobody_listening_is_503(set_clock):
    keys = KeySet(Settings(jwks_url="http://127.0.0.1:9/jwks"), set_clock)
    with pytest.raises(KeySetUnavailableError):
        await keys.key("key-1")
    await keys.close()


async def test_a_removed_key_stops_working_at_the_next_fetch_remembered_token_or_not(
    verifier, key_server, set_clock, issuer, stranger
):
    token = issuer.with_claims(exp=issuer.claims()["exp"] + 3000)
    await verifier.verify(bearer(token))
    key_server.publish(stranger.jwk(kid="key-2"))
    set_clock.seconds += 5
    with pytest.raises(InvalidTokenError):  # makes the verifier fetch
        await verifier.verify(bearer(issuer.with_header(kid="made-up")))
    with pytest.raises(InvalidTokenError) as refused:
        await verifier.verify(bearer(token))
    assert refused.value.reason == "kid: unknown to the issuer"


async def test_a_key_replaced_under_its_id_stops_working(verifier, key_server, set_clock, issuer, stranger):
    token = issuer.token()
    await verifier.verify(bearer(token))
    key_server.publish(stranger.jwk())
    set_clock.seconds += 5
    with pytest.raises(InvalidTokenError):
        await verifier.verify(bearer(issuer.with_header(kid="made-up")))
    with pytest.raises(InvalidTokenError) as refused:
        await verifier.verify(bearer(token))
    assert refused.value.reason == "signature: BadSignatureError"


async def test_a_remembered_token_ends_with_its_exp(verifier, set_clock, issuer):
    token = issuer.with_claims(exp=issuer.claims()["iat"] + 300)
    await verifier.verify(bearer(token))
    set_clock.seconds += 300 + 119
    await verifier.verify(bearer(token))
    set_clock.seconds += 2
    with pytest.raises(InvalidTokenError) as refused:
        await verifier.verify(bearer(token))
    assert refused.value.reason == "exp: expired"


async def test_remembered_tokens_are_bounded(verifier, keys, issuer, monkeypatch):
    monkeypatch.setattr("paidonce.app.auth.verifier.VERIFIED_MAX", 3)
    await keys.open()
    tokens = [issuer.with_claims(jti=str(n)) for n in range(4)]
    for token in tokens:
        await verifier.verify(bearer(token))
    assert len(verifier._verified) == 3
    assert VERIFIED_MAX < 10_000
    assert (await verifier.verify(bearer(tokens[0]))).sub == "joe"


#: Stand for a key set, and for a key, that would do, had they come otherwise.
GOOD, KEY = b"GOOD", b"KEY"
ANSWERS = [
    ("redirect", "302 Found", "Location: /elsewhere\r\n", GOOD),
    ("created", "201 Created", "", GOOD),
    ("not found", "404 Not Found", "", GOOD),
    ("too big", "200 OK", "", b" " * BYTES_MAX + GOOD),
    ("compressed", "200 OK", "Content-Encoding: gzip\r\n", gzip.compress(b'{"keys": []}')),
    ("not JSON", "200 OK", "", b"<html>"),
    ("a list", "200 OK", "", b"[" + GOOD + b"]"),
    ("no keys", "200 OK", "", b'{"keys": []}'),
    ("keys an object", "200 OK", "", b'{"keys": {}}'),
    ("keys twice", "200 OK", "", b'{"keys": [], "keys": []}'),
    ("keys of numbers", "200 OK", "", b'{"keys": [1, null, "a", []]}'),
    ("too many", "200 OK", "", b'{"keys": [' + b"{}," * KEYS_MAX + KEY + b"]}"),
    ("deep", "200 OK", "", b'{"keys": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ("not UTF-8", "200 OK", "", b'{"keys": "\xff"}'),
]


@pytest.mark.parametrize(("what", "status", "headers", "body"), ANSWERS, ids=[row[0] for row in ANSWERS])
async def test_an_answer_that_is_no_key_set_is_not_used(what, status, headers, body, keys, key_server, issuer):
    key = json.dumps(issuer.jwk()).encode()
    key_server.send(body.replace(GOOD, b'{"keys": [KEY]}').replace(KEY, key), status, headers)
    with capture_logs() as lines, pytest.raises(KeySetUnavailableError):
        await keys.key("key-1")
    assert [line["event"] for line in lines] == ["key set not fetched"]
    assert key_server.asked == 1  # a redirect was not followed


async def test_an_answer_without_an_end_is_cut_at_the_cap(keys, key_server, issuer):
    key_server.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (1 << 22) + json.dumps({"keys": [issuer.jwk()]}).encode()
    with pytest.raises(KeySetUnavailableError):
        await keys.key("key-1")


async def test_a_failed_fetch_leaves_the_old_set(keys, key_server, set_clock):
    await keys.open()
    key_server.send(b"<html>")
    set_clock.seconds += 5
    with pytest.raises(InvalidTokenError):
        await keys.key("made-up")
    assert await keys.key("key-1")


IGNORED = [
    ("for encryption", {"use": "enc"}),
    ("of another algorithm", {"alg": "RS512"}),
    ("to sign only", {"key_ops": ["sign"]}),
    ("symmetric", {"kty": "oct", "k": "AAAA"}),
    ("private", {"d": "AQAB"}),
    ("without id", {"kid": None}),
    ("with a long id", {"kid": "k" * 129}),
    ("with a small exponent", {"e": "Aw"}),
    ("with an even exponent", {"e": "AQAC"}),
    ("with a huge modulus", {"n": "_" * 2000}),
    ("with a number for modulus", {"n": 5}),
    ("without modulus", {"n": ""}),
]


@pytest.mark.parametrize(("what", "changes"), IGNORED, ids=[row[0] for row in IGNORED])
def test_keys_that_are_not_used(what, changes, issuer):
    good = issuer.jwk(kid="good")
    body = json.dumps({"keys": [issuer.jwk(kid="bad") | changes, good]}).encode()
    assert list(usable_keys(body)) == ["good"]
    with pytest.raises(KeySetRefusedError):
        usable_keys(json.dumps({"keys": [issuer.jwk(kid="bad") | changes]}).encode())


def test_a_key_of_1024_bits_is_not_used(issuer, weak):
    assert list(usable_keys(json.dumps({"keys": [weak.jwk(), issuer.jwk()]}).encode())) == ["key-1"]


def test_of_two_keys_under_one_id_neither_is_used(issuer, stranger):
    body = json.dumps({"keys": [issuer.jwk(), stranger.jwk(), issuer.jwk(kid="other")]}).encode()
    assert list(usable_keys(body)) == ["other"]


@pytest.mark.parametrize(
    "url", ["https://issuer.example/jwks", "http://127.0.0.1:1/j", "http://[::1]/j", "http://localhost/j"]
)
def test_addresses_from_which_keys_are_fetched(url):
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/j",
        "http://127.0.0.1.evil.example/j",
        "http://10.0.0.1/j",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
    ],
)
def test_addresses_from_which_they_are_not(url):
    with pytest.raises(ConfigurationError):
        checked_url(url)
    with pytest.raises(ConfigurationError):
        KeySet(Settings(jwks_url=url))
