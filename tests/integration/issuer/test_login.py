"""Does a person get to a token by password, code and PKCE alone, and only there where the client may go?"""

import re
from datetime import timedelta

import httpx
import pytest

from paidonce.devstack.issuer.app import create
from paidonce.devstack.issuer.codes import s256
from paidonce.devstack.issuer.signing import kept_in

ISS = "http://127.0.0.1:8081"


def returned(answer):
    return dict(httpx.URL(answer.headers["location"]).params)


async def test_a_person_logs_in_and_the_token_says_who(native, keys):
    answer = await native.login(tenant="globex")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(native.redirect_uri + "?")
    back = returned(answer)
    assert (back["state"], back["iss"]) == ("s-1", ISS)
    got = (await native.exchange(back["code"])).json()
    claims = keys.claims(got["access_token"], ISS)
    assert (claims["sub"], claims["tenant"], claims["client_id"]) == ("ann@globex.example", "globex", native.id)
    assert (got["expires_in"], claims["exp"] - claims["iat"]) == (600, 600)
    assert got["refresh_token"].startswith("pdr_")


async def test_the_page_is_no_script_no_frame_and_no_cache(native):
    page = await native.page(state='"><script>alert(1)</script>')
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "development issuer" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "same-origin")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "nobody"},
        {"client_id": "acme-development"},
        {"client_id": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:5173/callback/../other"},
        {"redirect_uri": "http://127.0.0.1:5173/callback?x=1"},
        {"redirect_uri": "http://127.0.0.1:5173@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:5173\n/callback"},
        {"redirect_uri": "http://localhost:5173/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example:80/callback"},
        {"redirect_uri": "javascript:alert(1)//127.0.0.1:1/callback"},
        {"redirect_uri": None},
    ],
)
async def test_a_request_that_leads_nowhere_is_shown_to_the_person_alone(native, changes):
    page = await native.page(**changes)
    assert page.status_code == 400
    assert "location" not in page.headers
    assert "password" not in page.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "payments:read admin"}, "invalid_scope"),
    ],
)
async def test_other_mistakes_are_told_to_the_client(native, changes, error):
    answer = await native.page(**changes)
    assert answer.status_code == 303
    back = returned(answer)
    assert (back["error"], back["state"], back["iss"]) == (error, "s-1", ISS)
    assert "code" not in back


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "guess"},
        {"password": ""},
        {"password": "p" * 257},
        {"username": "nobody@acme.example"},
        {"username": "ann@acme.example\0"},
        {"username": "ann@globex.example"},
    ],
    ids=str,
)
async def test_no_code_without_name_and_password(native, wrong):
    answer = await native.login(**wrong)
    assert answer.status_code == 401
    assert "location" not in answer.headers
    assert "do not belong together" in answer.text


async def test_another_site_s_form_logs_nobody_in(native):
    assert (await native.login(headers={"Origin": "https://evil.example"})).status_code == 400
    assert (await native.login(headers={"Origin": "null"})).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"redirect_uri": "http://127.0.0.1:9/callback"},
        {"client_id": "paidonce-browser"},
    ],
    ids=str,
)
async def test_a_code_is_of_use_to_its_client_alone_and_one_attempt_uses_it_up(native, changes):
    code = await native.code()
    refused = await native.exchange(code, **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await native.exchange(code)).status_code == 400


async def test_a_code_that_nobody_drew_is_refused(native):
    assert (await native.exchange("pdc_other")).json()["error"] == "invalid_grant"


async def test_a_code_without_a_verifier_is_no_request_at_all(native):
    form = {"grant_type": "authorization_code", "client_id": native.id, "code": await native.code()}
    answer = await native.http.post("/token", data=form | {"redirect_uri": native.redirect_uri})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_code_is_good_for_a_minute(native, clock):
    code = await native.code()
    clock.ahead = timedelta(seconds=61)
    assert (await native.exchange(code)).status_code == 400


async def test_a_code_that_comes_again_ends_the_login_that_it_began(native, rows):
    code = await native.code()
    refresh_token = (await native.exchange(code)).json()["refresh_token"]
    assert (await native.exchange(code)).status_code == 400
    assert (await native.refresh(refresh_token)).status_code == 400
    (about,) = rows.execute("SELECT about FROM issuer_1.events WHERE name = 'code_reused' ORDER BY id DESC").fetchone()
    assert about["client_id"] == native.id


async def test_the_verifier_of_the_rfc_has_its_challenge():
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
    assert s256(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_scopes_are_no_more_than_were_asked_for(native, keys):
    code = await native.code(scope="payments:read")
    got = (await native.exchange(code)).json()
    assert got["scope"] == "payments:read"
    more = await native.refresh(got["refresh_token"], scope="payments:write")
    assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")
    assert (await native.refresh(got["refresh_token"])).json()["scope"] == "payments:read", "the mistake cost nothing"


async def test_nothing_secret_is_in_the_database(native, rows):
    code = await native.code()
    got = (await native.exchange(code)).json()
    (tables,) = rows.execute(
        "SELECT array_agg(table_name::text) FROM information_schema.tables WHERE table_schema = 'issuer_1'"
    ).fetchone()
    stored = "".join(str(rows.execute(f"SELECT t::text FROM issuer_1.{table} t").fetchall()) for table in tables)
    assert "$argon2id$" in stored
    for secret in (code, got["refresh_token"], got["access_token"], "acme-development-password"):
        assert secret not in stored


async def test_without_a_database_client_credentials_go_on_and_a_login_says_what_is_missing(tmp_path):
    application = create(kept_in(tmp_path), ISS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url=ISS) as http:
        form = {"grant_type": "client_credentials"}
        credentials = ("acme-development", "acme-development-secret")
        assert (await http.post("/token", data=form, auth=credentials)).status_code == 200
        opaque = await http.post("/token", data=form | {"token_format": "opaque"}, auth=credentials)
        assert (opaque.status_code, opaque.json()["error"]) == (503, "temporarily_unavailable")
        assert "PAIDONCE_ISSUER_DSN" in opaque.json()["error_description"]
        assert opaque.headers["retry-after"] == "1"
        assert len((await http.get("/.well-known/jwks.json")).json()["keys"]) == 1


async def test_hidden_fields_survive_their_way_through_the_page(native):
    answer = await native.login(state="a&b=c")
    assert re.search(r"[?&]state=a%26b%3Dc(&|$)", answer.headers["location"])
