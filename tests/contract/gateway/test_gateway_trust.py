"""Whom does the API believe behind a gateway? Its headers over mutual TLS, where so set; without the proof nobody."""

import ssl

import httpx
import pytest

pytestmark = pytest.mark.gateway
CLAIM_HEADERS = {
    "X-User-Id": "sub",
    "X-Issuer": "iss",
    "X-Tenant": "tenant",
    "X-Scopes": "scope",
    "X-Roles": "roles",
    "X-Refund-Limit": "refund_limit",
}
SAID = {"X-User-Id": "root", "X-Tenant": "acme", "X-Scopes": "payments:read payments:write"}
PAYMENT = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}


@pytest.fixture(scope="module")
def shown(run, here):
    """Files of certificate and key, by who shows them."""
    folder = here.new_folder(run)
    _, *authority = here.certified(folder, "authority.example")
    files = {"authority": authority}
    for name in ("gateway.example", "another.example", "api.example"):
        _, *files[name] = here.certified(folder, name, signed_by=tuple(authority))
    _, *files["stranger"] = here.certified(folder, "stranger.example")
    _, *files["its own authority"] = here.certified(here.new_folder(run), "gateway.example")
    for _, key in files.values():
        # The gateway's workers may run under another account.
        key.chmod(0o644)
    return files


@pytest.fixture(scope="module")
def trusting(run, here, keys, database_of_module, shown):
    """The API that takes the gateway's word, and no token's."""
    (authority, _), (certificate, key) = shown["authority"], shown["api.example"]
    proof = {
        "api_caller": "gateway",
        "api_tls_certificate": certificate,
        "api_tls_key": key,
        "api_gateway_authority": authority,
        "api_gateway_name": "gateway.example",
    }
    with here.started_api(run, keys, database_of_module, **proof) as started:
        yield started


@pytest.fixture(scope="module")
def gateway(run, here, keys, shown, trusting):
    certificate, key = map(str, shown["gateway.example"])
    tls = {"authority": str(shown["authority"][0]), "name": "api.example", "certificate": certificate, "key": key}
    service = here.paidonce(trusting, claim_headers=CLAIM_HEADERS, pass_token=False) | {
        "upstreams": [f"https://127.0.0.1:{trusting.port}"],
        "upstream_tls": tls,
    }
    return here.start(run, {"issuers": [here.issuer_at(keys)], "services": [service]}, jwks_cooldown_s=0.01)


def client(shown, who: str | None) -> httpx.Client:
    context = ssl.create_default_context(cafile=shown["authority"][0])
    context.check_hostname = False
    if who is not None:
        context.load_cert_chain(*shown[who])
    return httpx.Client(verify=context, trust_env=False, timeout=20)


def test_the_gateway_says_who_calls(gateway, caller, parties, here):
    token = parties.issuer.with_claims(sub="zoë", roles=["admin"])
    forged = {
        "X-User-Id": "root",
        "X-Issuer": "https://realm.example",
        "X-Tenant": "globex",
        "X-Scopes": "customers:write",
        "X-Refund-Limit": "default",
    }
    answer = caller.get(f"{gateway.url}/v1/me", headers=forged | here.bearing(token))
    assert answer.status_code == 200, answer.text
    me = answer.json()
    assert (me["sub"], me["tenant"], me["roles"], me["expires_at"]) == ("zoë", "acme", ["admin"], None)
    assert "customers:write" not in me["scopes"]
    # Who has no token is nobody, whatever their headers say.
    assert caller.get(f"{gateway.url}/v1/me", headers=forged).status_code == 401


def test_a_payment_belongs_to_whom_the_gateway_named(gateway, caller, parties, here):
    def pay(tenant: str) -> httpx.Response:
        headers = here.bearing(parties.issuer.with_claims(tenant=tenant)) | {"Idempotency-Key": "trusted-1"}
        return caller.post(f"{gateway.url}/v1/payments", headers=headers, json=PAYMENT)

    first, again, other = pay("acme"), pay("acme"), pay("globex")
    assert [answer.status_code for answer in (first, again, other)] == [201, 201, 201]
    assert first.content == again.content
    assert first.json()["id"] != other.json()["id"]


def test_with_the_gateways_certificate_the_headers_count(trusting, shown):
    with client(shown, "gateway.example") as proven:
        answer = proven.get(f"https://127.0.0.1:{trusting.port}/v1/me", headers=SAID)
    assert (answer.status_code, answer.json()["sub"]) == (200, "root")


@pytest.mark.parametrize("who", [None, "another.example"])
def test_headers_without_the_proof_are_refused(trusting, shown, parties, here, who):
    bearing = here.bearing(parties.issuer.token())
    with client(shown, who) as unproven:
        url = f"https://127.0.0.1:{trusting.port}"
        for headers in (SAID, bearing, SAID | bearing):
            answer = unproven.get(f"{url}/v1/me", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        paid = unproven.post(f"{url}/v1/payments", headers=SAID | {"Idempotency-Key": "unproven"}, json=PAYMENT)
        assert paid.status_code == 401
        # A probe has no certificate.
        assert unproven.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize("who", ["stranger", "its own authority"])
def test_a_certificate_of_another_authority_gets_no_connection(trusting, shown, who):
    with client(shown, who) as unproven, pytest.raises(httpx.TransportError):
        unproven.get(f"https://127.0.0.1:{trusting.port}/healthz")


def test_nobody_comes_in_the_clear(trusting, caller):
    with pytest.raises(httpx.TransportError):
        caller.get(f"http://127.0.0.1:{trusting.port}/v1/me", headers=SAID)


def test_by_default_the_api_believes_tokens_alone(run, keys, database_of_module, here, caller, parties):
    with here.started_api(run, keys, database_of_module) as verifying:
        assert caller.get(f"{verifying.url}/v1/me", headers=SAID).status_code == 401
        both = SAID | here.bearing(parties.issuer.token())
        answer = caller.get(f"{verifying.url}/v1/me", headers=both)
    assert (answer.status_code, answer.json()["sub"]) == (200, "joe")
