"""Is a token over when it was revoked, and who learns what it says (RFC 7009, RFC 7662)?"""

from datetime import timedelta

import pytest

from paidonce.devstack.issuer.clients import api_credentials, credentials

API, ACME, GLOBEX = api_credentials(), credentials("acme"), credentials("globex")


async def said(http, token, auth=API):
    answer = await http.post("/introspect", data={"token": token}, auth=auth)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def a_token(http, token_format="jwt", **more):
    form = {"grant_type": "client_credentials", "token_format": token_format} | more
    return (await http.post("/token", data=form, auth=ACME)).json()["access_token"]


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_a_token_is_active_until_it_is_revoked(http, token_format, clock):
    token = await a_token(http, token_format, role="support")
    assert token.startswith("pda_" if token_format == "opaque" else "ey")
    found = await said(http, token)
    assert (found["active"], found["token_type"], found["tenant"], found["roles"]) == (
        True,
        "Bearer",
        "acme",
        ["support"],
    )
    assert found["exp"] - found["iat"] == 600
    assert (await said(http, token, ACME))["active"], "its own client may ask"
    assert await said(http, token, GLOBEX) == {"active": False}, "others learn nothing"
    other = await http.post("/revoke", data={"token": token}, auth=GLOBEX)
    assert (other.status_code, other.json()["error"]) == (400, "unauthorized_client")
    assert (await said(http, token))["active"]
    for _ in range(2):
        assert (await http.post("/revoke", data={"token": token}, auth=ACME)).status_code == 200
        assert await said(http, token) == {"active": False}


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_a_token_ends_by_itself(http, token_format, clock):
    token = await a_token(http, token_format, ttl="60")
    clock.ahead = timedelta(seconds=61)
    assert await said(http, token) == {"active": False}


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_the_access_token_of_a_revoked_login_is_over(native, token_format):
    got = await native.logged_in(token_format=token_format)
    assert (await said(native.http, got["access_token"]))["active"]
    await native.http.post("/revoke", data={"token": got["refresh_token"], "client_id": native.id})
    assert await said(native.http, got["access_token"]) == {"active": False}
    assert (await native.refresh(got["refresh_token"])).status_code == 400


async def test_a_refresh_token_is_never_active_for_the_api(native):
    token = (await native.logged_in())["refresh_token"]
    assert await said(native.http, token) == {"active": False}


@pytest.mark.parametrize("token", ["x", "pda_made-up", "pdr_made-up", "a.b.c", "é", "ey" * 2_000])
async def test_what_is_no_token_is_inactive_and_revoking_it_is_no_error(http, token):
    assert await said(http, token) == {"active": False}
    assert (await http.post("/revoke", data={"token": token}, auth=ACME)).status_code == 200


async def test_a_token_of_our_key_under_another_name_is_inactive(http, keys):
    claims = {"iss": "https://other.example", "client_id": "acme-development", "jti": "1", "exp": 4_000_000_000}
    assert await said(http, keys.current().sign(claims)) == {"active": False}


@pytest.mark.parametrize(
    ("path", "data", "auth", "status", "error"),
    [
        ("/introspect", {"token": "x"}, None, 401, "invalid_client"),
        ("/introspect", {"token": "x"}, (API[0], "guess"), 401, "invalid_client"),
        ("/introspect", {"token": "x", "client_id": "paidonce-native"}, None, 400, "unauthorized_client"),
        ("/introspect", {}, API, 400, "invalid_request"),
        ("/revoke", {"token": "x"}, None, 401, "invalid_client"),
        ("/revoke", {}, ACME, 400, "invalid_request"),
    ],
)
async def test_refusals(http, path, data, auth, status, error):
    answer = await http.post(path, data=data or {"a": "b"}, auth=auth) if auth else await http.post(path, data=data)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
