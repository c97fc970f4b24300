"""Is it the same API behind a gateway as without it? The real one, over a real PostgreSQL, asked both ways."""

import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies

pytestmark = pytest.mark.gateway
PAYMENT = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}


@pytest.fixture(scope="module")
def gateway(run, here, keys, api):
    return here.start(run, {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(api)]}, jwks_cooldown_s=0.01)


@pytest.fixture(scope="module")
def both(api, gateway):
    """The API, and the gateway in front of it."""
    return api.url, gateway.url


def test_a_payment_and_its_duplicate(gateway, api, caller, parties, here):
    headers = here.bearing(parties.issuer.token()) | {"Idempotency-Key": "gateway-1"}
    first = caller.post(f"{gateway.url}/v1/payments", headers=headers, json=PAYMENT)
    assert first.status_code == 201, first.text
    again = caller.post(f"{gateway.url}/v1/payments", headers=headers, json=PAYMENT)
    past_it = caller.post(f"{api.url}/v1/payments", headers=headers, json=PAYMENT)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (past_it.status_code, past_it.content) == (201, first.content)
    found = caller.get(gateway.url + first.headers["location"], headers=here.bearing(parties.issuer.token()))
    assert found.status_code == 200
    assert found.headers["etag"]


REQUESTS = [
    ("GET", "/v1/me", None),
    ("HEAD", "/v1/me", None),
    ("OPTIONS", "/v1/me", None),
    ("DELETE", "/v1/me", None),
    ("GET", "/v1/payments?limit=2", None),
    ("GET", "/v1/payments?nonsense=1", None),
    ("GET", "/v1/payments/nonsense", None),
    ("POST", "/v1/payments", b"{}"),
    ("POST", "/v1/payments", b"{"),
    ("PUT", "/v1/payments", b"{}"),
    ("POST", "/v1/payments/0193e4a0-0000-7000-8000-000000000001/refunds", b"{}"),
    ("GET", "/v1/customers/a%40b.example", None),
    ("GET", "/nowhere", None),
    ("GET", "/v1/me/", None),
    ("GET", "/v1//me", None),
    ("GET", "/healthz", None),
    ("DELETE", "/healthz", None),
    ("OPTIONS", "/healthz", None),
    ("GET", "/openapi.json", None),
    ("GET", "/docs/start.js", None),
    ("GET", "/docs/nothing.js", None),
    ("POST", "/webhooks/provider", b"{}"),
]
#: Of each answer its own.
OWN = {"date", "server", "x-request-id", "connection", "content-length", "keep-alive", "transfer-encoding"}


@pytest.mark.parametrize(("method", "target", "body"), REQUESTS, ids=[f"{row[0]} {row[1]}" for row in REQUESTS])
@pytest.mark.parametrize("scope", [None, "", "payments:read payments:write customers:read payments:refund"])
def test_the_same_answer_both_ways(both, caller, parties, here, method, target, body, scope):
    headers = {"X-Request-Id": "one", "Idempotency-Key": "same-answer"}
    if scope is not None:
        headers |= here.bearing(parties.issuer.with_claims(scope=scope))
    direct, through = (caller.request(method, url + target, headers=headers, content=body) for url in both)
    assert through.status_code == direct.status_code, (direct.text, through.text)
    assert through.content == direct.content
    assert {name: value for name, value in through.headers.items() if name not in OWN} == {
        name: value for name, value in direct.headers.items() if name not in OWN
    }


def test_a_head_at_the_limit_reaches_the_api_with_all_that_the_gateway_adds(gateway, api, parties):
    scope = " ".join(["payments:read", *(f"scope-{i}" for i in range(90))])
    token = parties.issuer.with_claims(scope=scope, sub="é" * 120)
    lines = [b"Host: x", b"Connection: close", b"Authorization: Bearer " + token]
    padding = 16_384 - len("GET /v1/me HTTP/1.1\r\n\r\n") - sum(len(line) + 2 for line in lines)
    for above, status in ((0, b"200"), (1, b"431")):
        sized = [*lines, b"X-P: " + b"p" * (padding + above - len(b"X-P: \r\n"))]
        answer = gateway.raw(b"GET /v1/me HTTP/1.1\r\n" + b"\r\n".join(sized) + b"\r\n\r\n")
        assert answer.split(b" ")[1] == status, answer


@strategies.composite
def payloads(draw):
    """Payloads that are well signed and mostly well-formed, with something odd somewhere."""
    odd = strategies.one_of(
        strategies.none(),
        strategies.booleans(),
        strategies.integers(-(2**70), 2**70),
        strategies.floats(),
        strategies.text(max_size=20),
        strategies.lists(strategies.text(max_size=4) | strategies.integers(), max_size=3),
        strategies.dictionaries(strategies.text(max_size=4), strategies.integers(), max_size=2),
    )
    names = ["iss", "aud", "sub", "tenant", "scope", "roles", "iat", "nbf", "exp", "typ", "cnf", "x"]
    changes = draw(strategies.dictionaries(strategies.sampled_from(names), odd, max_size=1))
    text = draw(strategies.text(max_size=8))
    place = draw(strategies.sampled_from(["sub", "tenant", "scope", "none"]))
    if place != "none":
        changes[place] = text
    return changes, draw(strategies.integers(0, 3)), draw(strategies.binary(max_size=3))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=payloads(), position=strategies.floats(0, 1))
def test_whatever_is_in_a_signed_token_both_say_the_same(both, caller, parties, here, drawn, position):
    changes, kind, inserted = drawn
    raw = json.dumps(parties.issuer.claims(**changes), ensure_ascii=kind == 1).encode("utf-8", "surrogatepass")
    if kind == 0:
        at = int(position * len(raw))
        raw = raw[:at] + inserted + raw[at + len(inserted) // 2 :]
    token = parties.issuer.token(payload=raw)
    direct, through = (caller.get(f"{url}/v1/me", headers=here.bearing(token)) for url in both)
    assert through.status_code == direct.status_code, raw
    assert through.status_code in {200, 401}
    if direct.status_code == 200:
        assert through.json() == direct.json()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    position=strategies.floats(0, 0.999),
    character=strategies.sampled_from('AZaz09-_.=+/ ~"\\'),
    cut=strategies.integers(0, 2),
)
def test_whatever_is_done_to_a_token_both_say_the_same(both, caller, parties, position, character, cut):
    token = parties.issuer.token().decode()
    at = int(position * len(token))
    # A client does not write blanks at the end of a line.
    changed = (token[:at] + character + token[at + cut :]).rstrip(" ")
    direct, through = (caller.get(f"{url}/v1/me", headers={"Authorization": f"Bearer {changed}"}) for url in both)
    assert through.status_code == direct.status_code, changed
    assert through.status_code == (200 if changed.strip(" ") == token else 401)
