"""Whom do a gateway's headers name? Held to the rules of the claims that they were written from."""

import pytest
from pydantic import ValidationError

from paidonce.app.auth.policy import amount_limit
from paidonce.app.auth.vouched import Vouched
from paidonce.app.errors import InvalidTokenError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings

GOOD = {"x-user-id": b"joe", "x-tenant": b"acme"}


def told(*lines: tuple[str, bytes], proven: bool = True, settings: Settings | None = None):
    headers = [(name.encode(), value) for name, value in lines]
    return Vouched(settings or Settings()).principal(headers, proven=proven)


def named(**changes: bytes | None):
    headers = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    return told(*((name, value) for name, value in headers.items() if value is not None))


def test_a_caller() -> None:
    found = named(x_scopes=b"payments:read payments:write", x_roles=b"admin", x_refund_limit=b"500")
    assert (found.sub, found.issuer, found.tenant) == ("joe", "", "acme")
    assert named(x_issuer=b"https://realm.example").issuer == "https://realm.example"
    assert found.scopes == {"payments:read", "payments:write"}
    assert found.roles == {"admin"}
    assert (found.refund_limit, found.expires_at) == (500, None)


@pytest.mark.parametrize(
    ("sent", "sub"), [(b"zo%C3%AB", "zoë"), (b"%20joe", " joe"), (b"%2520", "%20"), (b"a,b", "a,b")]
)
def test_what_is_percent_encoded_is_decoded(sent: bytes, sub: str) -> None:
    assert named(x_user_id=sent).sub == sub


@pytest.mark.parametrize(
    "changes",
    [
        {"x_user_id": None},
        {"x_user_id": b""},
        {"x_user_id": b"joe ann"},
        {"x_user_id": b"%20"},
        {"x_user_id": b"%00"},
        {"x_user_id": b"%zz"},
        {"x_user_id": b"%"},
        {"x_user_id": b"%C3"},
        {"x_user_id": "zoë".encode()},
        {"x_user_id": b"x" * 256},
        {"x_issuer": b"a b"},
        {"x_tenant": None},
        {"x_tenant": b""},
        {"x_tenant": b"acme globex"},
        {"x_tenant": b"zo%C3%AB"},
        {"x_tenant": b"a%20b"},
        {"x_tenant": b"x" * 65},
        {"x_scopes": b"a  b"},
        {"x_scopes": b" a"},
        {"x_roles": b"admin\tb"},
        {"x_refund_limit": b""},
        {"x_refund_limit": b"-1"},
        {"x_refund_limit": b"1.5"},
        {"x_refund_limit": b"01"},
        {"x_refund_limit": b"9007199254740993"},
    ],
)
def test_what_no_gateway_writes_is_refused(changes: dict[str, bytes | None]) -> None:
    with pytest.raises(InvalidTokenError):
        named(**changes)


@pytest.mark.parametrize("name", ["x-user-id", "x-issuer", "x-tenant", "x-scopes", "x-roles", "x-refund-limit"])
def test_a_second_line_is_refused(name: str) -> None:
    line = (GOOD | {"x-issuer": b"a", "x-scopes": b"a", "x-roles": b"a", "x-refund-limit": b"1"})[name]
    others = [item for item in GOOD.items() if item[0] != name]
    with pytest.raises(InvalidTokenError):
        told(*others, (name, line), (name, line))
    assert told(*others, (name, line))


def test_headers_without_the_proof_are_refused() -> None:
    with pytest.raises(InvalidTokenError) as refused:
        told(*GOOD.items(), proven=False)
    assert refused.value.reason == "gateway: the connection did not show its certificate"


def test_only_tenants_for_whom_some_issuer_may_speak() -> None:
    def issuer(name: str, tenants: frozenset[str] | None) -> TrustedIssuer:
        return TrustedIssuer(issuer=name, tenants=tenants)

    some = Settings(issuers=[issuer("a", frozenset({"acme"})), issuer("b", frozenset({"globex"}))])
    for tenant in (b"acme", b"globex"):
        assert told(("x-user-id", b"joe"), ("x-tenant", tenant), settings=some).tenant == tenant.decode()
    with pytest.raises(InvalidTokenError):
        told(("x-user-id", b"joe"), ("x-tenant", b"initech"), settings=some)
    anyone = Settings(issuers=[issuer("a", frozenset({"acme"})), issuer("b", None)])
    assert told(("x-user-id", b"joe"), ("x-tenant", b"initech"), settings=anyone).tenant == "initech"


@pytest.mark.parametrize(("sent", "limit"), [(b"default", 700), (b"900", 900), (b"0", 0), (None, 0)])
def test_a_gateway_that_says_nothing_of_a_limit_hides_none(sent: bytes | None, limit: int) -> None:
    settings = Settings(refund_limit_minor=700)
    principal = named(x_refund_limit=sent)
    assert amount_limit(principal, "POST", "/v1/payments/{payment_id}/refunds", settings) == limit


PROOF = {
    "api_tls_certificate": "api.pem",
    "api_tls_key": "api.key",
    "api_gateway_authority": "authority.pem",
    "api_gateway_name": "gateway.example",
}


def test_the_setting_needs_all_of_the_proof() -> None:
    assert Settings(api_caller="gateway", **PROOF).api_caller == "gateway"
    for missing in PROOF:
        with pytest.raises(ValidationError, match="PAIDONCE_"):
            Settings(api_caller="gateway", **{name: value for name, value in PROOF.items() if name != missing})
    # And TLS alone is a certificate with its key.
    assert Settings(api_tls_certificate="a", api_tls_key="b").api_caller == "token"
    with pytest.raises(ValidationError, match="belong together"):
        Settings(api_tls_certificate="a")
