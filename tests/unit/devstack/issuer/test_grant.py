"""Which requests get a token from the development issuer, and which of RFC 6749's errors the others?"""

import base64
from datetime import UTC, datetime

import pytest

from paidonce.devstack.issuer.clients import api_credentials, credentials
from paidonce.devstack.issuer.form import FIELDS_MAX, GrantError, authenticated
from paidonce.devstack.issuer.grant import claims, client_credentials, kind


def read(authorization, body):
    form = authenticated(authorization, body)
    kind(form)
    return client_credentials(form)


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


ACME = basic(*credentials("acme"))
GRANT = b"grant_type=client_credentials"
FORM = GRANT + b"&client_id=acme-development&client_secret=acme-development-secret"


def test_the_token_says_whose_it_is():
    request = read(ACME, GRANT + b"&scope=payments:read+payments:write&sub=joe&role=a&role=b&ttl=60")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    token = claims(request, "http://iss", now)
    assert len(token.pop("jti")) == 36
    assert token == {
        "iss": "http://iss",
        "aud": "paidonce",
        "sub": "joe",
        "tenant": "acme",
        "scope": "payments:read payments:write",
        "roles": ["a", "b"],
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(now.timestamp()) + 60,
        "client_id": "acme-development",
    }


def test_the_client_may_also_stand_in_the_form():
    request = read(None, FORM)
    assert (request.client.tenant, request.sub, request.ttl_s) == ("acme", "acme-development", 600)
    assert "payments:write" in request.scopes


def test_a_secret_may_be_encoded_as_the_rfc_says():
    assert read(basic("acme%2Ddevelopment", "acme-development-secret"), GRANT).client.tenant == "acme"


@pytest.mark.parametrize(
    ("authorization", "body", "code", "status"),
    [
        (None, GRANT, "invalid_client", 401),
        (basic("acme-development", "guess"), GRANT, "invalid_client", 401),
        (basic("acme-development", credentials("globex")[1]), GRANT, "invalid_client", 401),
        (basic("initech-development", "initech-development-secret"), GRANT, "invalid_client", 401),
        ("Basic !!!", GRANT, "invalid_client", 401),
        ("Basic /w==", GRANT, "invalid_client", 401),
        ("Bearer x", GRANT, "invalid_client", 401),
        (basic("acme-development", "é"), GRANT, "invalid_client", 401),
        (ACME, FORM, "invalid_request", 400),
        (ACME, b"", "invalid_request", 400),
        (ACME, b"grant_type", "invalid_request", 400),
        (ACME, b"\xff=1", "invalid_request", 400),
        (ACME, GRANT + b"&sub=%ff", "invalid_request", 400),
        (ACME, GRANT + b"&" + GRANT, "invalid_request", 400),
        (ACME, GRANT + b"&role=a" * FIELDS_MAX, "invalid_request", 400),
        (ACME, b"grant_type=password&username=joe&password=x", "unsupported_grant_type", 400),
        (ACME, GRANT + b"&scope=payments:write+admin", "invalid_scope", 400),
        (ACME, GRANT + b"&ttl=3601", "invalid_request", 400),
        (ACME, GRANT + b"&token_format=paper", "invalid_request", 400),
        (None, GRANT + b"&client_id=paidonce-native", "unauthorized_client", 400),
        (None, GRANT + b"&client_id=paidonce-native&client_secret=x", "invalid_client", 401),
        (None, GRANT + b"&client_id=acme-development", "invalid_client", 401),
        (basic(*api_credentials()), GRANT, "unauthorized_client", 400),
        (ACME, GRANT + b"&ttl=0", "invalid_request", 400),
        (ACME, GRANT + b"&ttl=-1", "invalid_request", 400),
        (ACME, GRANT + b"&ttl=1e3", "invalid_request", 400),
        (ACME, GRANT + b"&ttl=%D9%A3", "invalid_request", 400),
        (ACME, GRANT + b"&sub=" + b"j" * 256, "invalid_request", 400),
        (ACME, GRANT + b"&sub=joe%00", "invalid_request", 400),
    ],
)
def test_refusals(authorization, body, code, status):
    with pytest.raises(GrantError) as refused:
        read(authorization, body)
    assert (refused.value.code, refused.value.status) == (code, status)
