"""Does the API take opaque tokens of the real issuer, refuse revoked ones, and say 503 while the issuer is away?"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from paidonce.app.main import config
from paidonce.app.settings import Settings
from paidonce.devstack.issuer import app as issuer_app
from paidonce.devstack.issuer.clients import api_credentials, credentials
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.signing import kept_in
from paidonce.devstack.ports import free_port
from paidonce.workers import doctor_checks

#: Its name, which is not its address: nothing may take one for the other.
ISS = "https://issuer.example"


@dataclass
class Issuer:
    url: str

    def token(self, token_format: str = "opaque", **more: str) -> str:
        form = {"grant_type": "client_credentials", "token_format": token_format} | more
        answer = httpx.post(f"{self.url}/token", data=form, auth=credentials("acme"), trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def revoke(self, token: str) -> None:
        answer = httpx.post(f"{self.url}/revoke", data={"token": token}, auth=credentials("acme"), trust_env=False)
        assert answer.status_code == 200


@dataclass
class Api:
    url: str

    def me(self, token: str) -> httpx.Response:
        return httpx.get(f"{self.url}/v1/me", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=10)


def trusted(where: str, **opaque: str) -> dict:
    client_id, secret = api_credentials()
    how = {"client_id": client_id, "client_secret": secret, "url": f"{where}/introspect", "prefix": "pda_"}
    return {"issuer": ISS, "jwks_url": f"{where}/.well-known/jwks.json", "opaque": how | opaque}


@pytest.fixture
def issuing(tmp_path, api_database, serving):
    """Run the issuer, with its tables beside the product's."""

    @contextmanager
    def running() -> Iterator[Issuer]:
        application = issuer_app.create(kept_in(tmp_path), ISS, database=Database(SecretStr(api_database)))
        with serving(uvicorn.Config(application, log_config=None, lifespan="on")) as url:
            yield Issuer(url)

    return running


@pytest.fixture
def answering(api_settings, serving):
    """Run an API that asks the issuer."""

    @contextmanager
    def running(issuer: Issuer, cache_s: float = 0.0, **opaque: str) -> Iterator[Api]:
        settings = Settings(
            dsn=api_settings.dsn,
            issuers=[trusted(issuer.url, **opaque)],
            introspection_cache_s=cache_s,
            api_connections_max=4,
        )
        with serving(config(settings)) as url:
            yield Api(url)

    return running


def test_an_opaque_token_works_until_it_is_revoked(issuing, answering):
    with issuing() as issuer, answering(issuer) as api:
        token = issuer.token(scope="payments:read", role="support", sub="joe")
        answer = api.me(token)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["sub"], answer.json()["tenant"]) == ("joe", "acme")
        assert answer.json()["scopes"] == ["payments:read"]
        write = httpx.post(
            f"{api.url}/v1/payments",
            json={"amount": 1, "currency": "EUR", "payment_method": "pm_ok"},
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "opaque-1"},
            trust_env=False,
        )
        assert write.status_code == 403
        issuer.revoke(token)
        refused = api.me(token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert api.me("pda_made-up").status_code == 401
        assert api.me("pdr_made-up").status_code == 401


@pytest.mark.slow
def test_while_the_issuer_is_away_opaque_tokens_are_503_and_jwts_go_on(issuing, answering):
    with ExitStack() as api_runs:
        with issuing() as issuer:
            api = api_runs.enter_context(answering(issuer, cache_s=60))
            opaque, known = issuer.token(), issuer.token()
            assert api.me(known).status_code == 200
            jwts = [issuer.token("jwt", sub=f"joe-{number}") for number in range(3)]
        # The issuer is gone, and so is its port.
        for _ in range(5):
            answer = api.me(opaque)
            assert answer.status_code == 503
            assert answer.json()["code"] == "issuer-unavailable"
            assert answer.headers["retry-after"] == "1"
        assert api.me(known).status_code == 200
        assert {api.me(jwt).status_code for jwt in jwts} == {200}, "tokens that it has never seen"


@pytest.mark.slow
def test_an_issuer_that_refuses_our_secret_is_503_too(issuing, answering):
    with issuing() as issuer, answering(issuer, client_secret="wrong") as api:
        assert api.me(issuer.token()).status_code == 503
        assert api.me(issuer.token("jwt")).status_code == 200


def test_the_doctor_asks_too_and_says_what_to_mend(issuing):
    def said(where: str, **opaque: str) -> str:
        return doctor_checks.introspection(Settings(issuers=[trusted(where, **opaque)]))

    assert doctor_checks.introspection(Settings()) == "no issuer is asked about opaque tokens"
    with issuing() as issuer:
        assert said(issuer.url) == f"{ISS} answers"
        with pytest.raises(doctor_checks.WrongError, match=r"401.*client_id and client_secret.*PAIDONCE_ISSUERS"):
            said(issuer.url, client_secret="wrong")
        with pytest.raises(doctor_checks.WrongError, match=r"status 404.*mend `opaque`"):
            said(issuer.url, url=f"{issuer.url}/nothing-here")
    with pytest.raises(doctor_checks.WrongError, match="ConnectError"):
        said(f"http://127.0.0.1:{free_port()}")


def test_the_doctor_does_not_believe_who_calls_every_token_active(serving):
    yes = Starlette(routes=[Route("/introspect", lambda _request: JSONResponse({"active": True}), methods=["POST"])])
    with (
        serving(uvicorn.Config(yes, log_config=None)) as url,
        pytest.raises(doctor_checks.WrongError, match="a token active that nobody has"),
    ):
        doctor_checks.introspection(Settings(issuers=[trusted(url)]))
