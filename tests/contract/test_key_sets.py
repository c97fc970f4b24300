"""When are the issuer's keys fetched, which of them are used, and who waits? Against a real server on loopback."""

import asyncio
import gzip
import json
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from paidonce.app.auth import keyset
from paidonce.app.auth.jwks import BYTES_MAX, KEYS_MAX, checked_url, usable_keys
from paidonce.app.auth.keyset import MAX_AGE_LEAST_S, MAX_AGE_MOST_S, WAITERS_MAX, KeySet
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import VERIFIED_MAX, Verifier
from paidonce.app.errors import ConfigurationError, InvalidTokenError, KeySetUnavailableError
from paidonce.app.settings import Settings

ISS = "https://issuer.example"


@pytest.fixture
async def trust(auth_settings, set_clock):
    made = Trust(auth_settings, set_clock)
    yield made
    await made.close()


@pytest.fixture
def keys(trust) -> KeySet:
    return trust.issuer(ISS)[1]


@pytest.fixture
def verifier(auth_settings, trust, set_clock):
    return Verifier(auth_settings, trust, set_clock)


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


async def test_the_first_token_after_a_rotation_waits_out_the_cooldown_that_somebody_else_began(
    auth_settings, key_server, issuer
):
    # Real clocks: the wait is the point. A stranger's made-up id has just used the fetch up.
    trust = Trust(auth_settings.model_copy(update={"jwks_cooldown_s": 0.3}))
    await trust.open()
    keys = trust.issuer(ISS)[1]
    with pytest.raises(InvalidTokenError):
        await keys.key("made-up")
    key_server.publish(issuer.jwk(), issuer.jwk(kid="rotated"))
    assert await asyncio.gather(*(keys.key("rotated") for _ in range(10)))
    assert key_server.asked == 3
    await trust.close()


async def test_a_timer_that_rings_early_does_not_refuse_the_first_token_after_a_rotation(
    keys, key_server, set_clock, issuer
):
    await keys.open()
    key_server.publish(issuer.jwk(), issuer.jwk(kid="rotated"))
    # By this clock the wait for the cool-down takes no time at all.
    assert await keys.key("rotated")
    assert key_server.asked == 2


async def test_more_unknown_keys_than_may_wait_are_told_to_come_again(keys, key_server, set_clock):
    await keys.open()
    set_clock.seconds += 5
    key_server.gate.clear()
    asking = [asyncio.create_task(keys.key("made-up")) for _ in range(WAITERS_MAX)]
    await until(lambda: key_server.asked == 2)
    with pytest.raises(KeySetUnavailableError):
        await keys.key("made-up")
    assert await keys.key("key-1"), "a known key does not wait behind them"
    key_server.gate.set()
    refused = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in refused} == {InvalidTokenError}


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
    set_clock.seconds += 799
    keys.refresh()
    assert key_server.asked == 1
    set_clock.seconds += 1
    key_server.gate.clear()
    keys.refresh()
    await until(lambda: key_server.asked == 2)
    assert await keys.key("key-1")  # answered, although the fetch is held
    key_server.gate.set()


async def test_it_is_refreshed_without_any_request(auth_settings, set_clock, key_server, monkeypatch):
    monkeypatch.setattr(keyset, "TICK_S", 0.01)
    trust = Trust(auth_settings, set_clock)
    await trust.open()
    set_clock.seconds += 801
    await until(lambda: key_server.asked == 2)
    await trust.close()


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("max-age=600", 600),
        ("public, Max-Age=600, must-revalidate", 600),
        ("max-age=5", MAX_AGE_LEAST_S),
        ("no-cache", MAX_AGE_LEAST_S),
        ("no-store, max-age=900", MAX_AGE_LEAST_S),
        ("max-age=31536000", MAX_AGE_MOST_S),
        ("max-age=-1", 1000),
        ("max-age=" + "9" * 5000, 1000),
        ("max-age=soon", 1000),
        ("private", 1000),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_the_issuer_says_for_how_long(cache_control, seconds, keys, key_server, set_clock, issuer):
    body = json.dumps({"keys": [issuer.jwk()]}).encode()
    key_server.send(body, headers=f"Cache-Control: {cache_control}\r\n")
    await keys.open()
    set_clock.seconds = seconds * 0.8 - 1
    keys.refresh()
    assert keys._fetching is None
    set_clock.seconds += 1
    keys.refresh()
    await until(lambda: key_server.asked == 2)


async def test_while_the_issuer_is_away_the_set_is_used_for_a_day_and_then_it_is_503(keys, key_server, set_clock):
    await keys.open()
    key_server.send(b"", "500 Internal Server Error")
    set_clock.seconds += 24 * 3_600 - 1
    keys.refresh()
    await until(lambda: key_server.asked == 2)
    assert await keys.key("key-1")
    set_clock.seconds += 1
    with pytest.raises(KeySetUnavailableError):
        await keys.key("key-1")


async def test_an_outage_costs_one_fetch_a_step_and_no_request(verifier, trust, keys, key_server, set_clock, issuer):
    await trust.open()
    token = bearer(issuer.with_claims(exp=issuer.claims()["exp"] + 20_000))
    key_server.send(b"", "503 Service Unavailable")
    set_clock.seconds += 800
    fetches = []
    for n in range(10_000):
        if n % 20 == 0:  # 500 s of outage, 20 requests each
            set_clock.seconds += 1
            before = key_server.asked
            keys.refresh()
            await until(lambda: keys._fetching is None)
            fetches.append(key_server.asked - before)
        await verifier.verify(token)
    assert max(fetches) == 1
    # Steps of 1, 2, 4 … 60 s, half of it on average: about 20 of them in 500 s.
    assert 8 <= sum(fetches) <= 60


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
    trust = Trust(Settings(issuer=ISS, jwks_url="http://127.0.0.1:9/jwks"), set_clock)
    with pytest.raises(KeySetUnavailableError):
        await trust.issuer(ISS)[1].key("key-1")
    await trust.close()


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


@pytest.mark.parametrize("left", [[], [{"kty": "EC"}], [{"use": "enc"}]], ids=["none", "of another kind", "enc"])
async def test_the_last_key_that_is_removed_stops_working_too(
    left, auth_settings, folder, key_server, set_clock, issuer
):
    """An issuer that moves to another algorithm, or took its only key back in haste, has no key for us."""
    settings = auth_settings.model_copy(update={"jwks_folder": folder})
    trust = Trust(settings, set_clock)
    await trust.open()
    token = bearer(issuer.with_claims(exp=issuer.claims()["exp"] + 3000))
    verifier = Verifier(settings, trust, set_clock)
    assert await verifier.verify(token)
    key_server.publish(*(issuer.jwk() | changes for changes in left))
    set_clock.seconds += 900
    keys = trust.issuer(ISS)[1]
    keys.refresh()
    await keys._joined()
    with pytest.raises(KeySetUnavailableError):
        await verifier.verify(token)
    assert keys._failures, "it is asked again soon"
    await trust.close()
    key_server.send(b"", "503 Service Unavailable")
    assert await served(settings, issuer) == 503, "a restart brings the key back from the disk"


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


async def test_remembered_tokens_are_bounded(verifier, trust, issuer, monkeypatch):
    monkeypatch.setattr("paidonce.app.auth.verifier.VERIFIED_MAX", 3)
    await trust.open()
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
    with pytest.raises(KeySetUnavailableError):  # nobody can say whether the issuer has this key now
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
    with capture_logs() as lines:
        assert list(usable_keys(body)) == ["good"]
    assert len(lines) == 1, "an operator sees why a key is not used"
    assert not usable_keys(json.dumps({"keys": [issuer.jwk(kid="bad") | changes]}).encode())


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
        Trust(Settings(jwks_url=url))


def document(tmp_path):
    (file,) = tmp_path.glob("*.json")
    return file, json.loads(file.read_text())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
async def kept(auth_settings, folder, key_server):
    """Settings with a folder that holds the issuer's set; the issuer is away now."""
    settings = auth_settings.model_copy(update={"jwks_folder": folder})
    trust = Trust(settings)
    await trust.open()
    await until(lambda: list(folder.glob("*.json")))
    await trust.close()
    key_server.send(b"", "503 Service Unavailable")
    return settings


async def served(settings, issuer, clock=None):
    """What a replica says to a good token when it has just started."""
    trust = Trust(settings, clock)
    await trust.open()
    try:
        return (await Verifier(settings, trust).verify(bearer(issuer.token()))).tenant
    except KeySetUnavailableError:
        return 503
    finally:
        await trust.close()


async def test_a_replica_that_starts_while_the_issuer_is_away_serves_at_once(kept, issuer, folder, key_server):
    assert await served(kept, issuer) == "acme"
    file, _ = document(folder)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in folder.iterdir()] == [file.name]
    assert key_server.asked == 1, "the set is young, so nobody was asked"


@pytest.mark.parametrize(("hours", "answer"), [(23, "acme"), (25, 503), (-1, 503)])
async def test_its_age_counts_from_its_fetch(kept, issuer, folder, hours, answer):
    file, written = document(folder)
    fetched_at = datetime.fromisoformat(written["fetched_at"]) - timedelta(hours=hours)
    file.write_text(json.dumps(written | {"fetched_at": fetched_at.isoformat()}))
    assert await served(kept, issuer) == answer


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"issuer": "https://issuer.example"}', "\0"])
async def test_a_broken_file_is_no_set_and_no_crash(kept, issuer, folder, content):
    document(folder)[0].write_text(content)
    assert await served(kept, issuer) == 503


@pytest.mark.parametrize("changes", [{"max_age_s": "300"}, {"fetched_at": "2026-01-01T00:00:00"}, {"fetched_at": 5}])
async def test_a_file_with_another_kind_of_time_is_no_set_and_no_crash(kept, issuer, folder, changes):
    file, written = document(folder)
    file.write_text(json.dumps(written | changes))
    assert await served(kept, issuer) == 503


async def test_a_file_that_others_may_write_is_not_read(kept, issuer, folder):
    document(folder)[0].chmod(0o666)
    assert await served(kept, issuer) == 503


async def test_another_issuer_s_file_is_not_read(kept, issuer, folder):
    file, written = document(folder)
    file.write_text(json.dumps(written | {"issuer": "https://other.example"}))
    assert await served(kept, issuer) == 503


async def test_a_folder_that_cannot_be_written_is_only_logged(auth_settings, issuer, tmp_path):
    (tmp_path / "file").write_text("")
    settings = auth_settings.model_copy(update={"jwks_folder": tmp_path / "file"})
    assert await served(settings, issuer) == "acme"


def discovering(key_server, **changes):
    """Make the server answer with a discovery document instead, whose key set is elsewhere."""
    base = key_server.url.removesuffix("/jwks")
    return {"issuer": base, "jwks_uri": key_server.url} | changes


async def test_the_key_set_is_found_by_discovery(key_server, issuer):
    base = key_server.url.removesuffix("/jwks")
    key_server.pages["/.well-known/openid-configuration"] = json.dumps(discovering(key_server)).encode()
    settings = Settings(issuer=base)
    trust = Trust(settings)
    await trust.open()
    assert await trust.issuer(base)[1].key("key-1")
    await trust.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": "http://keys.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": "http://[::1"},
        {"jwks_uri": "https://keys.example/\ud800"},
        {"jwks_uri": "http://127.0.0.1:99999/jwks"},
    ],
)
async def test_a_discovery_document_that_is_not_used(changes, key_server):
    base = key_server.url.removesuffix("/jwks")
    key_server.pages["/.well-known/openid-configuration"] = json.dumps(discovering(key_server, **changes)).encode()
    trust = Trust(Settings(issuer=base))
    await trust.open()
    assert not trust.usable()
    assert trust.issuer(base)[1]._failures == 1, "without a back-off it is fetched again each second"
    await trust.close()


@pytest.fixture
async def two(key_server, stranger):
    """Two issuers whose keys have one id: ours, and a stranger that may speak for globex to `shop` alone."""
    key_server.pages["/stranger"] = json.dumps({"keys": [stranger.jwk()]}).encode()
    settings = Settings(
        issuers=[
            {"issuer": ISS, "jwks_url": key_server.url},
            {
                "issuer": "https://stranger.example",
                "jwks_url": key_server.url.replace("/jwks", "/stranger"),
                "audiences": ["shop", "till"],
                "tenants": ["globex"],
                "tenant_claim": "organization.name",
                "roles_claim": "realm_access.roles",
            },
        ]
    )
    trust = Trust(settings)
    await trust.open()
    yield Verifier(settings, trust)
    await trust.close()


THEIRS = {
    "iss": "https://stranger.example",
    "aud": "shop",
    "tenant": ...,
    "organization": {"name": "globex"},
    "realm_access": {"roles": ["clerk"]},
}


async def test_each_issuer_has_its_own_keys_audiences_and_tenants(two, issuer, stranger):
    assert (await two.verify(bearer(issuer.token()))).tenant == "acme"
    principal = await two.verify(bearer(stranger.with_claims(**THEIRS)))
    assert (principal.tenant, principal.roles) == ("globex", {"clerk"})
    assert (await two.verify(bearer(stranger.with_claims(**THEIRS | {"aud": ["x", "till"]})))).tenant == "globex"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "paidonce"}, "aud: not for us"),
        ({"organization": {"name": "acme"}}, "organization.name: not one that this issuer may speak for"),
        ({"organization": {}}, "organization.name: not a short text"),
        ({"organization": "globex"}, "organization.name: not a short text"),
        ({"organization": ..., "tenant": "globex"}, "organization.name: not a short text"),
        ({"realm_access": {"roles": "clerk"}}, "roles: not a list of strings"),
        ({"iss": ISS, "tenant": "acme", "aud": "paidonce"}, "signature: BadSignatureError"),
        ({"iss": "https://third.example"}, "iss: another issuer"),
        ({"iss": ["https://stranger.example"]}, "iss: another issuer"),
        ({"iss": ...}, "iss: another issuer"),
    ],
)
async def test_no_issuer_speaks_for_another(changes, reason, two, stranger):
    with pytest.raises(InvalidTokenError) as refused:
        await two.verify(bearer(stranger.with_claims(**THEIRS | changes)))
    assert refused.value.reason == reason


async def test_roles_that_are_not_there_are_none(two, stranger):
    assert (await two.verify(bearer(stranger.with_claims(**THEIRS | {"realm_access": ...})))).roles == frozenset()


def test_an_issuer_named_twice_is_refused():
    with pytest.raises(ValueError, match="names an issuer twice"):
        Settings(issuers=[{"issuer": ISS}, {"issuer": ISS, "audiences": ["other"]}])


async def test_the_age_of_the_set_and_its_fetches_can_be_seen(keys, key_server, set_clock, issuer):
    def seen(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"issuer": ISS, **labels}) or 0.0

    def fetches() -> tuple[float, float]:
        name = "paidonce_key_set_fetches_total"
        return seen(name, outcome="fetched"), seen(name, outcome="failed")

    fetched, failed = fetches()
    key_server.send(b"", status="503 Service Unavailable")
    await keys.open()
    assert seen("paidonce_key_set_age_seconds") == float("inf"), "there is none yet"
    assert fetches() == (fetched, failed + 1)
    key_server.publish(issuer.jwk())
    set_clock.seconds += 60
    keys.refresh()
    await until(lambda: seen("paidonce_key_set_age_seconds") == 0)
    set_clock.seconds += 100
    assert seen("paidonce_key_set_age_seconds") == 100
    assert fetches() == (fetched + 1, failed + 1)
