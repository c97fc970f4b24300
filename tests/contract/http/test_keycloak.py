"""Are a real identity provider's tokens taken and refused as ours are? Keycloak, with settings and nothing else."""

import signal
from itertools import count

import httpx
import pytest

from paidonce.app.auth.jwks import usable_keys
from paidonce.app.auth.policy import SCOPES
from paidonce.app.auth.strict_json import parse_object
from paidonce.app.auth.token import _decode, parse
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier, check_signature
from paidonce.app.errors import InvalidTokenError
from paidonce.app.main import config
from paidonce.app.settings import Settings
from paidonce.devstack.keycloak import signing_keys
from paidonce.devstack.keycloak.callers import client_tokens, person_tokens
from paidonce.devstack.keycloak.server import Keycloak, start_keycloak

#: Its start alone takes 15 s on a quiet machine, 50 on a busy one; Java's first login some more.
pytestmark = [pytest.mark.keycloak, pytest.mark.timeout(600)]
PAYMENT = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}
ENDPOINT = {"url": "https://shop.example/hooks", "secret": "whsec_" + "A" * 43 + "="}
EVERY_SCOPE = " ".join(sorted(SCOPES))
#: A new key signs at once, since its priority is above all others'.
PRIORITIES = count(200)


@pytest.fixture(scope="module")
def keycloak(run) -> Keycloak:
    return start_keycloak(run)


@pytest.fixture(scope="module")
def trusting(api_settings, keycloak):
    """The API's settings, with Keycloak as its only issuer."""
    named = api_settings.model_dump(include=set(api_settings.model_fields_set) - {"issuer"})
    return Settings(**named, issuers=[keycloak.trusted])


@pytest.fixture
def api(trusting, serving):
    """A client of an API that trusts Keycloak: it has fetched the key set, and no more."""
    with serving(config(trusting)) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
async def verifier(trusting, set_clock):
    settings = trusting.model_copy(update={"jwks_cooldown_s": 0.02})
    trust = Trust(settings, set_clock)
    await trust.open()
    yield Verifier(settings, trust, set_clock)
    await trust.close()


def bearing(token: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} | more


def me(api: httpx.Client, token: str) -> httpx.Response:
    return api.get("/v1/me", headers=bearing(token))


async def principal(verifier, token: str):
    return await verifier.verify([f"Bearer {token}".encode()])


def header(token: str) -> dict:
    return parse_object(_decode(token.split(".", maxsplit=1)[0].encode(), "header"))


def of_client(keycloak, client: str, scope: str = "payments:read") -> str:
    return client_tokens(keycloak, client, scope)["access_token"]


@pytest.mark.parametrize(
    ("client", "tenant", "type_"), [("acme-shop", "acme", "at+jwt"), ("globex-shop", "globex", "JWT")]
)
def test_a_client_of_each_tenant_pays(keycloak, api, client, tenant, type_):
    token = of_client(keycloak, client, "payments:read payments:write")
    assert header(token)["typ"] == type_
    shown = me(api, token).json()
    assert (shown["tenant"], shown["roles"]) == (tenant, [])
    # What is Keycloak's own is there too, and means nothing here.
    assert set(shown["scopes"]) == {"payments:read", "payments:write", "profile", "email"}
    made = api.post("/v1/payments", json=PAYMENT, headers=bearing(token, **{"Idempotency-Key": "keycloak-1"}))
    assert made.status_code == 201, made.text
    other = of_client(keycloak, "acme-shop" if tenant == "globex" else "globex-shop")
    assert api.get(made.headers["location"], headers=bearing(token)).status_code == 200
    assert api.get(made.headers["location"], headers=bearing(other)).status_code == 404, "another tenant's"


def test_a_client_gets_the_scopes_that_it_asks_for(keycloak, api):
    read = of_client(keycloak, "acme-shop", "payments:read")
    refused = api.post("/v1/payments", json=PAYMENT, headers=bearing(read, **{"Idempotency-Key": "keycloak-2"}))
    assert refused.status_code == 403
    assert 'scope="payments:write"' in refused.headers["www-authenticate"]
    assert api.get("/v1/payments", headers=bearing(read)).status_code == 200


async def test_a_person_has_the_roles_and_the_limit_of_the_realm(keycloak, api, verifier):
    asked = f"openid {EVERY_SCOPE}"
    admin, clerk = (person_tokens(keycloak, name, asked)["access_token"] for name in ("acme-admin", "acme-clerk"))
    shown = me(api, admin).json()
    assert (shown["tenant"], shown["roles"]) == ("acme", ["admin"])
    assert set(shown["scopes"]) >= SCOPES
    # Name and mail address are in the token, and in nothing that is made of it.
    assert "acme.example" in _decode(admin.split(".")[1].encode(), "payload").decode()
    assert "acme.example" not in repr(await principal(verifier, admin)) + str(shown)
    assert (await principal(verifier, admin)).refund_limit == 500
    assert (await principal(verifier, clerk)).refund_limit is None
    assert api.put("/v1/webhook-endpoint", json=ENDPOINT, headers=bearing(clerk)).status_code == 403
    assert api.put("/v1/webhook-endpoint", json=ENDPOINT, headers=bearing(admin)).status_code in {200, 201}


def id_token(keycloak: Keycloak) -> str:
    return person_tokens(keycloak, "acme-admin", f"openid {EVERY_SCOPE}")["id_token"]


def tenantless(keycloak: Keycloak) -> str:
    return person_tokens(keycloak, "no-tenant", "openid payments:read")["access_token"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(id_token, "typ: not an access token", id="its ID token, with our audience and a tenant in it"),
        pytest.param(lambda one: of_client(one, "acme-light"), "aud: not for us", id="its lightweight token"),
        pytest.param(lambda one: of_client(one, "acme-reports"), "aud: not for us", id="a token for another client"),
        pytest.param(tenantless, "paidonce.tenant: not a short text", id="a person without a tenant"),
    ],
)
async def test_well_signed_and_refused(keycloak, api, verifier, make, reason):
    token = make(keycloak)
    # The key that signs access tokens has signed it, and nothing but its claims is wrong.
    parsed = parse(token.encode(), bytes_max=4_096)
    check_signature(parsed, await verifier._trust.issuer(keycloak.issuer)[1].key(parsed.kid))
    assert header(token)["kid"] == header(of_client(keycloak, "acme-shop"))["kid"]
    with pytest.raises(InvalidTokenError) as refused:
        await principal(verifier, token)
    assert refused.value.reason == reason
    answer = me(api, token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_refresh_token_is_refused(keycloak, api, verifier):
    token = person_tokens(keycloak, "acme-admin", f"openid {EVERY_SCOPE}")["refresh_token"]
    assert header(token)["alg"] == "HS512"
    with pytest.raises(InvalidTokenError) as refused:
        await principal(verifier, token)
    assert refused.value.reason == "header: alg is not RS256"
    assert me(api, token).status_code == 401


def test_a_token_of_its_administrators_realm_is_another_issuer_s(keycloak, api):
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "keycloak-admin"}
    form["password"] = keycloak.admin_password
    url = f"{keycloak.url}/realms/master/protocol/openid-connect/token"
    token = httpx.post(url, data=form, trust_env=False, timeout=30).json()["access_token"]
    assert me(api, token).status_code == 401


def test_its_key_for_encryption_is_not_used(keycloak):
    published = httpx.get(f"{keycloak.issuer}/protocol/openid-connect/certs", trust_env=False, timeout=30)
    listed = {key["kid"]: key["use"] for key in published.json()["keys"]}
    assert set(listed.values()) == {"sig", "enc"}
    assert set(usable_keys(published.content)) == {kid for kid, use in listed.items() if use == "sig"}


def test_the_first_token_after_a_rotation_is_taken_and_the_old_ones_go_on(keycloak, api):
    before = of_client(keycloak, "acme-shop")
    assert me(api, before).status_code == 200
    new = signing_keys.rotate(keycloak, priority=next(PRIORITIES))
    after = of_client(keycloak, "acme-shop")
    assert header(after)["kid"] == new != header(before)["kid"], "it signs with the new key at once"
    assert me(api, after).status_code == 200, "the very first request with it"
    assert me(api, before).status_code == 200


def test_a_removed_key_s_tokens_end_with_the_next_fetch(keycloak, api):
    before = of_client(keycloak, "acme-shop")
    assert me(api, before).status_code == 200
    new = signing_keys.rotate(keycloak, priority=next(PRIORITIES))
    signing_keys.remove(keycloak, header(before)["kid"])
    after = of_client(keycloak, "acme-shop")
    assert header(after)["kid"] == new
    # Its key id is unknown, which is what makes the API fetch now.
    assert me(api, after).status_code == 200
    assert me(api, before).status_code == 401


async def test_without_any_unknown_key_a_removed_one_s_tokens_end_within_five_minutes(keycloak, verifier, set_clock):
    # Keycloak says no-cache, which we read as the least time that we keep a set.
    before = of_client(keycloak, "acme-shop")
    assert (await principal(verifier, before)).tenant == "acme"
    signing_keys.rotate(keycloak, priority=next(PRIORITIES))
    signing_keys.remove(keycloak, header(before)["kid"])
    set_clock.seconds += 299 * 0.8
    keys = verifier._trust.issuer(keycloak.issuer)[1]
    keys.refresh()
    assert (await principal(verifier, before)).tenant == "acme"
    set_clock.seconds += 1
    generation = keys.generation
    keys.refresh()
    await keys._joined()
    assert keys.generation == generation + 1
    with pytest.raises(InvalidTokenError) as refused:
        await principal(verifier, before)
    assert refused.value.reason == "kid: unknown to the issuer"


def test_while_it_does_not_answer_its_tokens_are_taken_by_a_replica_that_starts_now_too(
    keycloak, trusting, serving, tmp_path
):
    settings = trusting.model_copy(update={"jwks_folder": tmp_path / "keys"})
    known, unseen = (of_client(keycloak, "acme-shop") for _ in range(2))
    with serving(config(settings)) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as first:
        assert me(first, known).status_code == 200
        keycloak.process.send(signal.SIGSTOP)
        try:
            assert me(first, unseen).status_code == 200
            with serving(config(settings)) as other:
                second = httpx.get(f"{other}/v1/me", headers=bearing(unseen), trust_env=False, timeout=30)
            assert second.status_code == 200
        finally:
            keycloak.process.send(signal.SIGCONT)
