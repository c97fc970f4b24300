"""When is an issuer asked about an opaque token, what is believed, and for how long? Against a server on loopback."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx
import pytest
from structlog.testing import capture_logs

from paidonce.app.auth import introspection
from paidonce.app.auth.introspection import ASKING_MAX, FAILURES_MOST, KEPT_MAX, REFUSED_S
from paidonce.app.auth.jwks import BYTES_MAX
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.errors import ConfigurationError, InvalidTokenError, IssuerUnavailableError
from paidonce.app.settings import Settings

ISS = "https://issuer.example"
CACHE_S = 10.0
TOKEN = b"pda_0123456789"
#: The longest that the breaker stays open at first.
OPEN_FIRST_S = 1.0


def active(**changes) -> dict:
    now = int(time.time())
    said = {"active": True, "iss": ISS, "aud": "paidonce", "sub": "joe", "tenant": "acme", "exp": now + 600} | changes
    return {name: value for name, value in said.items() if value is not ...}


@dataclass
class Asked:
    """An introspection endpoint: what it was asked, and what it answers when `gate` is open."""

    url: str = ""
    answer: bytes = b""
    tokens: list[str] = field(default_factory=list)
    authorization: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, said: object, status: str = "200 OK", headers: str = "") -> None:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
        self.answer = head.encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = httpx.Headers(
                [
                    tuple(line.split(b": ", 1))
                    for line in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[1:]
                    if line
                ]
            )
            form = parse_qs((await reader.readexactly(int(head["content-length"]))).decode())
            self.authorization = head["authorization"]
            self.tokens += form["token"]
            await self.gate.wait()
            writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    server = Asked()
    server.gate.set()
    server.say(active())
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/introspect"
    yield server
    server.gate.set()
    listening.close()
    await listening.wait_closed()


def settings_of(asked: Asked, key_server, **opaque) -> Settings:
    how = {"client_id": "api:1", "client_secret": "s e/cret", "url": asked.url} | opaque
    one = {"issuer": ISS, "jwks_url": key_server.url, "tenants": ["acme"], "opaque": how}
    return Settings(issuers=[one], introspection_cache_s=CACHE_S)


@pytest.fixture
async def verifier(asked, key_server, set_clock):
    settings = settings_of(asked, key_server)
    trust = Trust(settings, set_clock)
    yield Verifier(settings, trust, set_clock)
    await trust.close()


def bearer(token: bytes) -> list[bytes]:
    return [b"Bearer " + token]


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def outcome(verifier, token: bytes = TOKEN):
    try:
        return (await verifier.verify(bearer(token))).sub
    except IssuerUnavailableError as error:
        return error.status
    except InvalidTokenError as error:
        return error.reason


async def test_the_issuer_says_who_it_is(verifier, asked, key_server):
    asked.say(active(scope="payments:read payments:write", roles=["support"], client_id="shop", token_type="bearer"))
    principal = await verifier.verify(bearer(TOKEN))
    assert (principal.sub, principal.tenant, principal.client_id) == ("joe", "acme", "shop")
    assert (principal.scopes, principal.roles) == ({"payments:read", "payments:write"}, {"support"})
    assert asked.tokens == [TOKEN.decode()]
    assert base64.b64decode(asked.authorization.removeprefix("Basic ")) == b"api%3A1:s+e%2Fcret"  # RFC 6749, 2.3.1
    assert key_server.asked == 0


async def test_a_yes_is_kept_for_seconds(verifier, asked, set_clock):
    for _ in range(3):
        assert await outcome(verifier) == "joe"
    asked.say({"active": False})
    set_clock.seconds += CACHE_S - 0.1
    assert (await outcome(verifier), len(asked.tokens)) == ("joe", 1)
    set_clock.seconds += 0.2
    assert (await outcome(verifier), len(asked.tokens)) == ("introspection: not active", 2)


async def test_but_never_past_the_token_s_end(verifier, asked, set_clock):
    asked.say(active(exp=int(time.time()) + 3))
    assert await outcome(verifier) == "joe"
    asked.say({"active": False})
    set_clock.seconds += 3.1
    assert await outcome(verifier) == "introspection: not active"


async def test_a_no_is_kept_for_a_moment(verifier, asked, set_clock):
    asked.say({"active": False})
    for _ in range(3):
        assert await outcome(verifier) == "introspection: not active"
    assert len(asked.tokens) == 1
    asked.say(active())
    set_clock.seconds += REFUSED_S + 0.1
    assert await outcome(verifier) == "joe"


async def test_its_age_counts_from_the_question(verifier, asked, set_clock):
    asked.gate.clear()
    first = asyncio.create_task(outcome(verifier))
    await until(lambda: asked.tokens)
    set_clock.seconds += CACHE_S  # the answer is a long time coming
    asked.gate.set()
    assert await first == "joe"
    asked.say({"active": False})
    assert await outcome(verifier) == "introspection: not active"


async def test_requests_with_one_token_share_a_question(verifier, asked):
    asked.gate.clear()
    asking = [asyncio.create_task(outcome(verifier)) for _ in range(50)]
    await until(lambda: asked.tokens)
    asking[0].cancel()  # the one that asked gives up
    asked.gate.set()
    assert await asyncio.gather(*asking[1:]) == ["joe"] * 49
    assert len(asked.tokens) == 1


async def test_made_up_tokens_do_not_push_good_ones_out(verifier, asked, monkeypatch):
    monkeypatch.setattr(introspection, "KEPT_MAX", 4)
    assert KEPT_MAX > 4
    assert await outcome(verifier) == "joe"
    asked.say({"active": False})
    for number in range(10):
        await outcome(verifier, b"made-up-%d" % number)
    assert (await outcome(verifier), len(asked.tokens)) == ("joe", 11)


async def test_more_questions_than_may_be_asked_at_once_are_told_to_come_again(verifier, asked):
    asked.gate.clear()
    asking = [asyncio.create_task(outcome(verifier, b"t%d" % number)) for number in range(ASKING_MAX)]
    await until(lambda: len(asked.tokens) == ASKING_MAX)
    assert await outcome(verifier) == 503
    asked.gate.set()
    assert await asyncio.gather(*asking) == ["joe"] * ASKING_MAX


NOT_FOR_US = [
    ("another audience", {"aud": "shop"}, "aud: not for us"),
    ("no audience", {"aud": ...}, "aud: not for us"),
    ("another issuer", {"iss": "https://other.example"}, "iss: another issuer"),
    ("no issuer", {"iss": ...}, "iss: another issuer"),
    ("no tenant", {"tenant": ...}, "tenant: not a short text"),
    ("another tenant", {"tenant": "globex"}, "tenant: not one that this issuer may speak for"),
    ("no end", {"exp": ...}, "exp: not an integer number of seconds"),
    ("an end that is a text", {"exp": "4000000000"}, "exp: not an integer number of seconds"),
    ("an end long ago", {"exp": 1}, "exp: expired"),
    ("a start in a year", {"nbf": int(time.time()) + 31_536_000}, "nbf: in the future"),
    ("no subject", {"sub": ...}, "sub: not a short text"),
    ("a refresh token", {"typ": "Refresh"}, "typ: not an access token"),
    ("bound to a key", {"cnf": {}}, "a claim of another kind of token"),
    ("of another type", {"token_type": "DPoP"}, "not a bearer token"),
    ("of no readable type", {"token_type": 1}, "not a bearer token"),
]


@pytest.mark.parametrize(("what", "changes", "reason"), NOT_FOR_US, ids=[row[0] for row in NOT_FOR_US])
async def test_active_but_not_for_us(what, changes, reason, verifier, asked):
    asked.say(active(**changes))
    assert await outcome(verifier) == f"introspection: {reason}"


NO_ANSWERS = [
    ("an error", ({"active": True}, "500 Internal Server Error")),
    ("too busy", ({"active": True}, "429 Too Many Requests")),
    ("we are refused", ({"error": "invalid_client"}, "401 Unauthorized")),
    ("elsewhere", ({"active": True}, "302 Found", "Location: https://evil.example/\r\n")),
    ("no JSON", (b"<html>",)),
    ("no object", ([],)),
    ("neither yes nor no", ({},)),
    ("yes as a text", (active(active="true"),)),
    ("yes as a number", (active(active=1),)),
    ("yes and no", (b'{"active": false, "active": true}',)),
    ("deep", (b'{"active": true, "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",)),
    ("huge", (active(x="x" * BYTES_MAX),)),
    ("not UTF-8", (b'{"active": true, "x": "\xff"}',)),
]


@pytest.mark.parametrize(("what", "answer"), NO_ANSWERS, ids=[row[0] for row in NO_ANSWERS])
async def test_whatever_is_neither_yes_nor_no_refuses_nobody(what, answer, verifier, asked, set_clock):
    asked.say(*answer)
    with capture_logs() as lines:
        assert await outcome(verifier) == 503
    assert [line["event"] for line in lines] == ["issuer not asked"]
    assert TOKEN.decode() not in str(lines)
    asked.say(active())
    assert await outcome(verifier) == "joe", "one failure holds nobody back"


async def broken(verifier, asked) -> None:
    asked.say({}, "503 Service Unavailable")
    for number in range(FAILURES_MOST):
        assert await outcome(verifier, b"t%d" % number) == 503
    asked.tokens.clear()


async def test_an_issuer_that_is_away_is_left_alone(verifier, asked, set_clock, monkeypatch):
    monkeypatch.setattr("paidonce.app.retry.random.uniform", lambda _least, most: most)  # no jitter
    assert await outcome(verifier) == "joe"
    await broken(verifier, asked)
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        set_clock.seconds += pause_s - 0.1
        assert await asyncio.gather(*(outcome(verifier, b"t%d" % number) for number in range(100))) == [503] * 100
        assert asked.tokens == [], "nobody asks"
        set_clock.seconds += 0.2
        answers = await asyncio.gather(*(outcome(verifier, b"t%d" % number) for number in range(100)))
        assert (answers, len(asked.tokens)) == ([503] * 100, 1), "one probes"
        asked.tokens.clear()
    asked.say(active())
    set_clock.seconds += 60.1
    assert await outcome(verifier, b"probe") == "joe"
    assert await asyncio.gather(*(outcome(verifier, b"u%d" % number) for number in range(9))) == ["joe"] * 9


async def test_ten_thousand_requests_in_an_outage_are_one_question_a_step(verifier, asked, set_clock):
    await broken(verifier, asked)
    steps = 0
    for _ in range(100):
        set_clock.seconds += OPEN_FIRST_S
        before = len(asked.tokens)
        assert {await outcome(verifier, b"t%d" % number) for number in range(100)} == {503}
        steps += len(asked.tokens) - before
        assert len(asked.tokens) - before <= 1
    assert 0 < steps < 30


async def test_what_was_said_goes_on_counting_while_the_issuer_is_away(verifier, asked, set_clock):
    assert await outcome(verifier) == "joe"
    await broken(verifier, asked)
    set_clock.seconds += CACHE_S - 0.1
    assert await outcome(verifier) == "joe"


async def test_an_issuer_that_hangs_is_a_503(verifier, asked, monkeypatch):
    monkeypatch.setattr("paidonce.app.auth.introspection_call.FETCH_S", 0.05)
    asked.gate.clear()
    assert await outcome(verifier) == 503


async def test_a_jwt_is_never_asked_about(verifier, asked, issuer, key_server):
    assert await outcome(verifier, issuer.token()) == "joe"
    assert await outcome(verifier, issuer.with_claims(exp=1)) == "exp: expired"
    assert await outcome(verifier, b"a.b.c") != "joe"
    assert asked.tokens == []


@pytest.mark.parametrize(
    "token", [b"", b"=", b"a b", b"a\tb", b"a,b", b"a\xff", b"a%20", b"a=b", b"a\r\nb", b"x" * 4_097], ids=repr
)
async def test_what_can_be_no_bearer_token_is_not_asked_about(verifier, asked, token):
    assert isinstance(await outcome(verifier, token), str)
    assert asked.tokens == []


async def test_without_the_setting_an_opaque_token_is_refused_and_nobody_asked(auth_settings, asked, set_clock):
    trust = Trust(auth_settings, set_clock)
    assert "not three segments" in await outcome(Verifier(auth_settings, trust, set_clock))
    assert asked.tokens == []
    await trust.close()


async def test_no_issuer_sees_another_s_tokens(asked, key_server, set_clock):
    ours = {"client_id": "api", "client_secret": "s", "url": asked.url, "prefix": "pda_"}
    theirs = {"client_id": "api", "client_secret": "s", "url": asked.url.replace("introspect", "x"), "prefix": "t_"}
    issuers = [
        {"issuer": ISS, "jwks_url": key_server.url, "opaque": ours},
        {"issuer": "https://other.example", "jwks_url": key_server.url, "opaque": theirs},
    ]
    settings = Settings(issuers=issuers)
    trust = Trust(settings, set_clock)
    verifier = Verifier(settings, trust, set_clock)
    assert await outcome(verifier) == "joe"
    assert await outcome(verifier, b"t_1") == "introspection: iss: another issuer", "the other vouches for itself only"
    assert "not three segments" in await outcome(verifier, b"x_1")
    assert asked.tokens == [TOKEN.decode(), "t_1"]
    await trust.close()


@pytest.mark.parametrize(("first", "second"), [("", ""), ("a_", "a_"), ("", "a_"), ("a_", "a_b_")])
def test_issuers_whose_tokens_look_alike_are_refused(first, second):
    def one(name, prefix):
        return {"issuer": name, "opaque": {"client_id": "a", "client_secret": "s", "prefix": prefix}}

    with pytest.raises(ValueError, match="prefix"):
        Settings(issuers=[one("https://a.example", first), one("https://b.example", second)])


@pytest.mark.parametrize("opaque", [{"url": "http://issuer.example/i"}, {"url": None}], ids=str)
def test_an_issuer_is_asked_over_tls_only(asked, key_server, opaque):
    how = {"client_id": "a", "client_secret": "s"} | opaque
    with pytest.raises(ConfigurationError, match="https"):
        Trust(Settings(issuers=[{"issuer": "http://issuer.example", "jwks_url": key_server.url, "opaque": how}]))


async def test_its_address_is_found_by_discovery_once(asked, key_server, set_clock):
    base = key_server.url.removesuffix("/jwks")
    key_server.pages["/.well-known/openid-configuration"] = json.dumps(
        {"issuer": base, "jwks_uri": key_server.url, "introspection_endpoint": asked.url}
    ).encode()
    settings = Settings(issuers=[{"issuer": base, "opaque": {"client_id": "a", "client_secret": "s"}}])
    trust = Trust(settings, set_clock)
    verifier = Verifier(settings, trust, set_clock)
    asked.say(active(iss=base))
    assert await outcome(verifier) == "joe"
    del key_server.pages["/.well-known/openid-configuration"]
    assert await outcome(verifier, b"another") == "joe"
    await trust.close()


@pytest.mark.parametrize("before", ["http://127.0.0.1:9/introspect", "http://127.0.0.1:99999/introspect"])
async def test_an_address_that_does_not_work_is_looked_for_again(before, asked, key_server, set_clock):
    base = key_server.url.removesuffix("/jwks")

    def leads_to(url: str) -> None:
        document = {"issuer": base, "jwks_uri": key_server.url, "introspection_endpoint": url}
        key_server.pages["/.well-known/openid-configuration"] = json.dumps(document).encode()

    settings = Settings(issuers=[{"issuer": base, "opaque": {"client_id": "a", "client_secret": "s"}}])
    trust = Trust(settings, set_clock)
    verifier = Verifier(settings, trust, set_clock)
    asked.say(active(iss=base))
    leads_to(before)
    assert await outcome(verifier) == 503
    leads_to(asked.url)
    assert await outcome(verifier) == "joe"
    await trust.close()


def test_the_secret_is_not_shown(asked):
    assert "s3cret" not in repr(
        Settings(issuers=[{"issuer": ISS, "opaque": {"client_id": "a", "client_secret": "s3cret"}}])
    )
