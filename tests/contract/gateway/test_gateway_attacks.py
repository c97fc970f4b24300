"""Does each gateway answer every row of the attack table as the API does, and let none of them reach the service?"""

import json

import httpx
import pytest

from paidonce.app.api.problems import document
from paidonce.app.errors import InvalidTokenError, MissingTokenError

pytestmark = pytest.mark.gateway
#: Envoy takes an issuer's keys as they are: what an encryption key or one of 1024 bits has signed too.
LEFT_TO_THE_API = {"Envoy": {"a key that is too short", "kid of an encryption key"}}


@pytest.fixture(scope="module")
def service(serve, here):
    return serve(here.echo)


@pytest.fixture(scope="module")
def gateway(run, serve, here, keys, service):
    return here.start(
        run, {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(service)]}, jwks_cooldown_s=0.01
    )


def answer_to(caller: httpx.Client, url: str, sent) -> httpx.Response:
    headers = [(name.encode(), value) for name, value in sent.headers]
    if sent.form:
        headers.append((b"Content-Type", b"application/x-www-form-urlencoded"))
        return caller.post(f"{url}/v1/payments", content=sent.form, headers=headers)
    return caller.get(f"{url}/v1/me" + (f"?{sent.query}" if sent.query else ""), headers=headers)


@pytest.fixture(scope="module")
def before_the_api(run, here, keys, api):
    """The gateway in front of the API itself, for what it lets pass."""
    return here.start(run, {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(api)]}, jwks_cooldown_s=0.01)


def test_the_table(attack, here, gateway, service, caller, parties, findings, request):
    if not attack.carried:
        pytest.skip("HTTP does not carry it as it is")
    before = len(service.seen)
    sent = attack.make(parties)
    answer = answer_to(caller, gateway.url, sent)
    reached = len(service.seen) > before
    findings[here.kind][attack.name] = "passes on" if reached else "refuses"
    assert reached == (attack.status == 200 or attack.name in LEFT_TO_THE_API.get(here.kind, ()))
    if reached and attack.status != 200:
        answer = answer_to(caller, request.getfixturevalue("before_the_api").url, sent)
    assert answer.status_code == attack.status, answer.text
    if attack.status == 200:
        return
    assert answer.headers["www-authenticate"] == attack.challenge
    found = json.loads(answer.content)
    assert found.pop("request_id") == answer.headers["x-request-id"]
    # Nothing in it tells the reasons apart, and nothing tells it from the API's own answer.
    assert found == document(InvalidTokenError("") if attack.why else MissingTokenError())
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("end", "statuses"),
    [
        (b"\n.e30.AAAA", {400, 401}),
        (b"\r\n.e30.AAAA", {400, 401}),
        (b"\0", {400}),
        (b"\x7f", {400, 401}),
        (b"\r\n folded", {400, 401}),
        (b" ", {200}),
    ],
)
def test_a_line_that_no_client_would_write(gateway, service, parties, end, statuses):
    before = len(service.seen)
    line = b"Authorization: Bearer " + parties.issuer.token() + end
    answer = gateway.raw(b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + line + b"\r\n\r\n")
    assert int(answer.split(b" ")[1]) in statuses, answer
    assert (len(service.seen) > before) == (statuses == {200})


def test_the_reason_is_in_the_log_and_the_token_is_not(gateway, caller, parties):
    token = parties.issuer.with_claims(sub=7)
    answer = caller.get(f"{gateway.url}/v1/me", headers={"Authorization": f"Bearer {token.decode()}"})
    assert answer.status_code == 401
    log = gateway.logged('"reason":"sub: not a short text"')
    assert token.decode()[:40] not in log
