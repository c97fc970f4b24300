"""Whose keys does Envoy use, and for how long? What it does of an issuer's outages, and what it leaves to the API."""

import json
from contextlib import contextmanager

import pytest

from paidonce.app.errors import ConfigurationError
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.gateway, pytest.mark.only("Envoy")]
FETCHES = 'envoy_http_jwt_authn_jwks_fetch_%s{envoy_http_conn_manager_prefix="gateway"}'


class Issuer:
    """A key server whose answer can change; None: it ends the connection."""

    def __init__(self, *jwks: dict):
        self.publish(*jwks)

    def publish(self, *jwks: dict) -> None:
        self.body = json.dumps({"keys": list(jwks)}).encode()

    def __call__(self, _seen):
        return None if self.body is None else (200, {}, self.body)


@pytest.fixture
def keyed(parties):
    return Issuer(parties.issuer.jwk())


@pytest.fixture
def server(serve, keyed):
    return serve(keyed)


@pytest.fixture(scope="module")
def service(serve, here):
    return serve(here.echo)


@contextmanager
def started(run, here, server, service, *, seconds=1, **listening):
    document = {"issuers": [here.issuer_at(server)], "services": [here.paidonce(service)], "gateway": listening}
    gateway = here.start(run, document, jwks_cache_s=seconds)
    yield gateway
    gateway.process.stop()


@pytest.fixture
def ask(caller):
    def ask(gateway, token: bytes):
        return caller.get(f"{gateway.url}/v1/me", headers={"Authorization": f"Bearer {token.decode()}"})

    return ask


def test_a_removed_key_stops_working_at_the_next_fetch_and_a_new_one_works(
    run, here, keyed, server, service, parties, ask
):
    old, new = parties.issuer.token(), parties.issuer.with_header(kid="key-2")
    with started(run, here, server, service) as gateway:
        assert (ask(gateway, old).status_code, ask(gateway, new).status_code) == (200, 401)
        keyed.publish(parties.issuer.jwk(kid="key-2"))
        # It asks from time to time, whatever it is asked.
        until(lambda: ask(gateway, new).status_code == 200, within_s=15, what="the new key")
        assert ask(gateway, old).status_code == 401


def test_while_the_issuer_is_away_the_old_set_works(run, here, keyed, server, service, parties, ask):
    with started(run, here, server, service) as gateway:
        assert ask(gateway, parties.issuer.token()).status_code == 200
        keyed.body = None
        failed = gateway.figure(FETCHES % "failed")
        until(lambda: gateway.figure(FETCHES % "failed") > failed, within_s=15, what="a failed fetch")
        assert {ask(gateway, parties.issuer.token()).status_code for _ in range(50)} == {200}


def test_made_up_key_ids_cause_no_fetch(run, here, server, service, parties, ask):
    with started(run, here, server, service, seconds=3_600) as gateway:
        assert ask(gateway, parties.issuer.token()).status_code == 200
        before = len(server.seen)
        assert {ask(gateway, parties.issuer.with_header(kid=f"made-up-{i}")).status_code for i in range(20)} == {401}
        assert len(server.seen) == before


def test_without_any_keys_it_is_503(run, here, keyed, server, service, parties, ask):
    keyed.body = None
    with started(run, here, server, service) as gateway:
        answer = ask(gateway, parties.issuer.token())
        assert (answer.status_code, answer.json()["code"]) == (503, "key-set-unavailable")
        assert answer.headers["retry-after"] == "1"
        keyed.publish(parties.issuer.jwk())
        until(lambda: ask(gateway, parties.issuer.token()).status_code == 200, within_s=15, what="the keys")


@pytest.mark.parametrize(
    ("name", "trusted", "status"), [("127.0.0.1", True, 200), ("127.0.0.1", False, 503), ("other.example", True, 503)]
)
def test_tls_checks_who_answers(run, here, serve, keyed, service, parties, ask, name, trusted, status):
    context, pem, _ = here.certified(here.new_folder(run), name)
    server = serve(keyed, tls=context)
    server.scheme = "https"
    with started(run, here, server, service, **({"authorities": str(pem)} if trusted else {})) as gateway:
        assert ask(gateway, parties.issuer.token()).status_code == status


@pytest.mark.parametrize("issuer", [{}, {"jwks_url": "http://192.0.2.1/jwks"}])
def test_what_it_could_not_fetch_safely_is_refused_when_it_is_written(run, here, service, issuer):
    document = {"issuers": [{"issuer": here.ISS} | issuer], "services": [here.paidonce(service)]}
    with pytest.raises(ConfigurationError, match=r"jwks_url|https"):
        here.start(run, document)
