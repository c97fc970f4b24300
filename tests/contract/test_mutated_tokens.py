"""Can a valid token be changed and still be valid? Never, however it is changed, and nothing else is ever raised."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paidonce.app.auth.claims import principal_of
from paidonce.app.auth.jwks import usable_keys
from paidonce.app.auth.principal import Principal
from paidonce.app.auth.token import parse
from paidonce.app.auth.verifier import check_signature
from paidonce.app.errors import InvalidTokenError
from paidonce.app.issuers import TrustedIssuer

EXAMPLES = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
NOW = 1_800_000_000

MEMBERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HEADER_NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "zip", "cty", "x"])
CLAIM_NAMES = st.sampled_from(
    ["iss", "aud", "sub", "tenant", "scope", "roles", "exp", "nbf", "iat", "typ", "client_id", "azp", "cnf", "x"]
)


@pytest.fixture(scope="session")
def checked(issuer):
    keys = usable_keys(json.dumps({"keys": [issuer.jwk()]}).encode())
    rules = TrustedIssuer(issuer="https://issuer.example")

    def check(raw: bytes) -> Principal:
        token = parse(raw, bytes_max=4096)
        if token.kid not in keys:
            raise InvalidTokenError("kid: unknown to the issuer")
        check_signature(token, keys[token.kid])
        return principal_of(token.payload, rules, NOW, skew_s=120)

    return check


@pytest.fixture(scope="session")
def valid(issuer, checked):
    token = issuer.token(payload=issuer.claims(iat=NOW, nbf=NOW, exp=NOW + 600))
    assert checked(token).sub == "joe"
    return token


@EXAMPLES
@given(data=st.data())
def test_a_token_with_changed_bytes_never_passes(data, valid, checked):
    at = data.draw(st.integers(0, len(valid)))
    cut = data.draw(st.integers(0, 4))
    put = data.draw(st.binary(max_size=4) | st.text("AZaz09-_.= ", max_size=4).map(str.encode))
    mutated = valid[:at] + put + valid[at + cut :]
    if mutated != valid:
        with pytest.raises(InvalidTokenError):
            checked(mutated)


@EXAMPLES
@given(raw=st.binary(max_size=200) | st.text(".eyJhbGciOiJ", max_size=60).map(str.encode))
def test_noise_never_passes(raw, checked):
    with pytest.raises(InvalidTokenError):
        checked(raw)


@EXAMPLES
@given(segment=st.binary(max_size=120))
def test_noise_under_a_good_signature_never_passes(segment, issuer, checked):
    with pytest.raises(InvalidTokenError):
        checked(issuer.token(payload=segment))
    with pytest.raises(InvalidTokenError):
        checked(issuer.token(header=segment))


@EXAMPLES
@given(name=CLAIM_NAMES, value=MEMBERS)
def test_a_strange_claim_under_a_good_signature_is_refused_or_read_as_it_stands(name, value, issuer, checked):
    claims = issuer.claims(iat=NOW, nbf=NOW, exp=NOW + 600) | {name: value}
    try:
        principal = checked(issuer.token(payload=claims))
    except InvalidTokenError:
        return
    assert principal.sub == claims["sub"]
    assert principal.tenant == claims["tenant"]
    assert " ".join(sorted(principal.scopes)) == " ".join(sorted(set(claims["scope"].split(" ")) - {""}))
    for text in (principal.sub, principal.tenant):
        text.encode("utf-8")  # what the database will do


@EXAMPLES
@given(name=HEADER_NAMES, value=MEMBERS)
def test_a_strange_header_under_a_good_signature_is_refused_or_means_nothing(name, value, issuer, checked):
    token = issuer.token(header=issuer.header | {name: value}, payload=issuer.claims(iat=NOW, nbf=NOW, exp=NOW + 9))
    try:
        assert checked(token).sub == "joe"
    except InvalidTokenError:
        return
    assert name in {"cty", "x"} or value == issuer.header.get(name)


def test_every_single_changed_character_is_refused(valid, checked):
    for at in range(len(valid)):
        for other in b"A.":
            if valid[at] != other:
                with pytest.raises(InvalidTokenError):
                    checked(valid[:at] + bytes([other]) + valid[at + 1 :])


def test_one_token_has_one_spelling(valid, checked):
    for segment in valid.split(b"."):
        padded = urlsafe_b64encode(urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
        if padded != segment:
            with pytest.raises(InvalidTokenError):
                checked(valid.replace(segment, padded))
