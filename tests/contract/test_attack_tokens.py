"""Which tokens get in? One table: what was done to a token, what the caller is answered, and why."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from structlog.testing import capture_logs

from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.errors import InvalidTokenError, MissingTokenError

OK, NO = 200, 401


def hs256_with_public_key(f, _s, _w):
    header = base64.urlsafe_b64encode(json.dumps(f.header | {"alg": "HS256"}).encode()).rstrip(b"=")
    body = header + b"." + base64.urlsafe_b64encode(json.dumps(f.claims()).encode()).rstrip(b"=")
    secret = json.dumps(f.jwk()).encode()
    return body + b"." + base64.urlsafe_b64encode(hmac.new(secret, body, hashlib.sha256).digest()).rstrip(b"=")


def unsigned(f, _s, _w):
    return f.with_header(alg="none").rsplit(b".", 1)[0] + b"."


def spare_bits(f, _s, _w):
    head, signature = f.token().rsplit(b".", 1)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 256 bytes are 342 characters, the last of which has four bits that decode to nothing
    return head + b"." + signature[:-1] + bytes([alphabet[alphabet.index(signature[-1]) ^ 1]])


def now(offset: int) -> int:
    return int(time.time()) + offset


def raw_payload(f, text: str) -> bytes:
    """The valid claims, with `text` in place of the last brace."""
    return f.token(payload=json.dumps(f.claims()).encode()[:-1] + text.encode("utf-8", "surrogatepass"))


def raw_header(f, text: str) -> bytes:
    return f.token(header=json.dumps(f.header).encode()[:-1] + text.encode())


TABLE = [
    # what lets a token in
    ("as it should be", OK, "", lambda f, s, w: f.token()),
    ("typ JWT", OK, "", lambda f, s, w: f.with_header(typ="JWT")),
    ("typ in other case", OK, "", lambda f, s, w: f.with_header(typ="AT+JWT")),
    ("typ with application/", OK, "", lambda f, s, w: f.with_header(typ="application/at+jwt")),
    ("an unknown header member", OK, "", lambda f, s, w: f.with_header(x5t="abc")),
    ("aud a list with us in it", OK, "", lambda f, s, w: f.with_claims(aud=["account", "paidonce"])),
    ("payload typ Bearer (Keycloak)", OK, "", lambda f, s, w: f.with_claims(typ="Bearer")),
    ("no nbf (Keycloak)", OK, "", lambda f, s, w: f.with_claims(nbf=...)),
    ("no scope", OK, "", lambda f, s, w: f.with_claims(scope=...)),
    ("roles", OK, "", lambda f, s, w: f.with_claims(roles=["support"])),
    ("expired, within the skew", OK, "", lambda f, s, w: f.with_claims(exp=now(-60))),
    ("nbf ahead, within the skew", OK, "", lambda f, s, w: f.with_claims(nbf=now(60))),
    ("brackets in a string", OK, "", lambda f, s, w: f.with_claims(note="[" * 50)),
    # the signature
    ("another's key", NO, "signature: BadSignatureError", lambda f, s, w: s.token()),
    ("a key that is too short", NO, "kid: unknown to the issuer", lambda f, s, w: w.token()),
    ("alg none", NO, "signature: not canonical base64url", unsigned),
    ("alg none, signed", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg="none")),
    ("alg NONE", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg="NoNe")),
    ("HS256 with the public key as secret", NO, "header: alg is not RS256", hs256_with_public_key),
    ("alg RS384", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg="RS384")),
    ("alg PS256", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg="PS256")),
    ("alg rs256", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg="rs256")),
    ("alg a list", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg=["RS256"])),
    ("no alg", NO, "header: alg is not RS256", lambda f, s, w: f.with_header(alg=...)),
    ("no signature", NO, "signature: not canonical base64url", lambda f, s, w: f.token().rsplit(b".", 1)[0] + b"."),
    (
        "signature of zeros",
        NO,
        "signature: BadSignatureError",
        lambda f, s, w: f.token().rsplit(b".", 1)[0] + b"." + b"A" * 342,
    ),
    ("signature cut short", NO, "signature: BadSignatureError", lambda f, s, w: f.token()[:-2]),
    ("signature with spare bits", NO, "signature: not canonical base64url", spare_bits),
    ("payload of another token", NO, "signature: BadSignatureError", lambda f, s, w: swapped(f)),
    # the form
    ("empty", NO, "not three segments", lambda f, s, w: b""),
    ("not a token", NO, "not three segments", lambda f, s, w: b"hello"),
    ("two segments", NO, "not three segments", lambda f, s, w: f.token().rsplit(b".", 1)[0]),
    ("four segments", NO, "not three segments", lambda f, s, w: f.token() + b".AAAA"),
    ("five segments, as an encrypted token has", NO, "not three segments", lambda f, s, w: f.token() + b".AAAA.AAAA"),
    ("empty segments", NO, "header: not canonical base64url", lambda f, s, w: b".."),
    ("padding", NO, "signature: not canonical base64url", lambda f, s, w: f.token() + b"=="),
    ("a line break inside", NO, "header: not base64url", lambda f, s, w: f.token().replace(b".", b"\n.", 1)),
    ("a space at the end", NO, "signature: not base64url", lambda f, s, w: f.token() + b" "),
    (
        "plain base64 alphabet",
        NO,
        "signature: not canonical base64url",
        lambda f, s, w: f.token().replace(b"-", b"+").replace(b"_", b"/") + b"+",
    ),
    ("two tokens with a comma", NO, "not three segments", lambda f, s, w: f.token() + b"," + f.token()),
    ("too long", NO, "too long", lambda f, s, w: f.with_claims(note="x" * 4096)),
    ("not ASCII", NO, "signature: not base64url", lambda f, s, w: f.token() + "é".encode()),
    # JSON
    ("header not JSON", NO, "header: Expecting value:", lambda f, s, w: f.token(header=b"alg")),
    ("header a list", NO, "header: not a JSON object", lambda f, s, w: f.token(header=b"[]")),
    ("payload a string", NO, "payload: not a JSON object", lambda f, s, w: f.token(payload=b'"joe"')),
    (
        "payload not UTF-8",
        NO,
        "payload: 'utf-8' codec can't decode byte 0xff",
        lambda f, s, w: f.token(payload=b'{"sub": "\xff"}'),
    ),
    (
        "payload with a byte order mark",
        NO,
        "payload: Unexpected UTF-8 BOM",
        lambda f, s, w: f.token(payload=b"\xef\xbb\xbf" + json.dumps(f.claims()).encode()),
    ),
    ("alg twice", NO, "header: duplicate members", lambda f, s, w: raw_header(f, ', "alg": "RS256"}')),
    ("kid twice", NO, "header: duplicate members", lambda f, s, w: raw_header(f, ', "kid": "key-1"}')),
    ("tenant twice", NO, "payload: duplicate members", lambda f, s, w: raw_payload(f, ', "tenant": "globex"}')),
    (
        "tenant twice, once escaped",
        NO,
        "payload: duplicate members",
        lambda f, s, w: raw_payload(f, ', "\\u0074enant": "globex"}'),
    ),
    (
        "a member twice, further down",
        NO,
        "payload: duplicate members",
        lambda f, s, w: raw_payload(f, ', "a": {"b": 1, "b": 2}}'),
    ),
    ("NaN", NO, "payload: NaN is not JSON", lambda f, s, w: raw_payload(f, ', "a": NaN}')),
    (
        "deep header",
        NO,
        "header: nested too deeply",
        lambda f, s, w: raw_header(f, ', "a": ' + "[" * 900 + "]" * 900 + "}"),
    ),
    (
        "deep payload",
        NO,
        "payload: nested too deeply",
        lambda f, s, w: raw_payload(f, ', "a": ' + "[" * 1000 + "]" * 1000 + "}"),
    ),
    (
        "deep objects",
        NO,
        "payload: nested too deeply",
        lambda f, s, w: raw_payload(f, ', "a": ' + '{"a":' * 300 + "1" + "}" * 300 + "}"),
    ),
    ("unclosed brackets", NO, "payload: nested too deeply", lambda f, s, w: f.token(payload=b"[" * 2000)),
    ("a number of 2000 digits", NO, "exp: not an integer number of seconds", lambda f, s, w: huge(f)),
    ("text after the object", NO, "payload: Extra data:", lambda f, s, w: raw_payload(f, "} {}")),
    # the header
    ("no typ", NO, "header: typ is not that of an access token", lambda f, s, w: f.with_header(typ=...)),
    (
        "typ of an ID token's logout",
        NO,
        "header: typ is not that of an access token",
        lambda f, s, w: f.with_header(typ="logout+jwt"),
    ),
    ("typ DPoP", NO, "header: typ is not that of an access token", lambda f, s, w: f.with_header(typ="dpop+jwt")),
    ("typ a number", NO, "header: typ is not that of an access token", lambda f, s, w: f.with_header(typ=1)),
    ("crit", NO, "header: a member that we do not allow", lambda f, s, w: f.with_header(crit=["exp"])),
    ("crit, empty", NO, "header: a member that we do not allow", lambda f, s, w: f.with_header(crit=[])),
    ("b64 false", NO, "header: a member that we do not allow", lambda f, s, w: f.with_header(b64=False)),
    ("its own key", NO, "header: a member that we do not allow", lambda f, s, w: s.with_header(jwk=s.jwk())),
    (
        "a link to its own keys",
        NO,
        "header: a member that we do not allow",
        lambda f, s, w: f.with_header(jku="http://127.0.0.1:1/jwks"),
    ),
    (
        "a link to its own certificate",
        NO,
        "header: a member that we do not allow",
        lambda f, s, w: f.with_header(x5u="http://127.0.0.1:1/x"),
    ),
    ("its own certificate", NO, "header: a member that we do not allow", lambda f, s, w: f.with_header(x5c=["MII="])),
    ("compressed", NO, "header: a member that we do not allow", lambda f, s, w: f.with_header(zip="DEF")),
    ("no kid", NO, "header: kid is not a short string", lambda f, s, w: f.with_header(kid=...)),
    ("kid empty", NO, "header: kid is not a short string", lambda f, s, w: f.with_header(kid="")),
    ("kid a number", NO, "header: kid is not a short string", lambda f, s, w: f.with_header(kid=1)),
    ("kid too long", NO, "header: kid is not a short string", lambda f, s, w: f.with_header(kid="k" * 129)),
    ("kid a path", NO, "kid: unknown to the issuer", lambda f, s, w: f.with_header(kid="../../key-1")),
    ("kid with NUL", NO, "header: kid is not a short string", lambda f, s, w: f.with_header(kid="key-1\0")),
    ("kid of an encryption key", NO, "kid: unknown to the issuer", lambda f, s, w: f.with_header(kid="key-enc")),
    ("kid unknown", NO, "kid: unknown to the issuer", lambda f, s, w: f.with_header(kid="key-2")),
    # for whom, from whom
    ("another issuer", NO, "iss: another issuer", lambda f, s, w: f.with_claims(iss="https://issuer.example.evil")),
    (
        "issuer with a slash more",
        NO,
        "iss: another issuer",
        lambda f, s, w: f.with_claims(iss="https://issuer.example/"),
    ),
    ("issuer a list", NO, "iss: another issuer", lambda f, s, w: f.with_claims(iss=["https://issuer.example"])),
    ("no issuer", NO, "iss: another issuer", lambda f, s, w: f.with_claims(iss=...)),
    ("for another audience", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud="account")),
    ("audience in other case", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud="Paidonce")),
    ("no audience (Keycloak's lightweight token)", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud=...)),
    ("audience an empty list", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud=[])),
    ("audience an object", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud={"paidonce": 1})),
    ("audience a list with a number", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud=["paidonce", 1])),
    ("audience a list in a list", NO, "aud: not for us", lambda f, s, w: f.with_claims(aud=[["paidonce"]])),
    ("an ID token", NO, "typ: not an access token", lambda f, s, w: f.with_claims(typ="ID")),
    ("a refresh token", NO, "typ: not an access token", lambda f, s, w: f.with_claims(typ="Refresh")),
    ("payload typ null", NO, "typ: not an access token", lambda f, s, w: f.with_claims(typ=None)),
    ("payload typ a list", NO, "typ: not an access token", lambda f, s, w: f.with_claims(typ=["Bearer"])),
    ("an ID token by its at_hash", NO, "a claim of another kind of token", lambda f, s, w: f.with_claims(at_hash="x")),
    ("a logout token", NO, "a claim of another kind of token", lambda f, s, w: f.with_claims(events={})),
    ("bound to a key", NO, "a claim of another kind of token", lambda f, s, w: f.with_claims(cnf={"jkt": "x"})),
    # when
    ("expired", NO, "exp: expired", lambda f, s, w: f.with_claims(exp=now(-121))),
    ("no exp", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=...)),
    ("exp a string", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=str(now(600)))),
    ("exp a float", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=now(600) + 0.5)),
    ("exp true", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=True)),
    ("exp null", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=None)),
    ("exp infinite", NO, "exp: not an integer number of seconds", lambda f, s, w: infinite(f)),
    ("exp 2^63", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=2**63)),
    ("exp negative", NO, "exp: not an integer number of seconds", lambda f, s, w: f.with_claims(exp=-1)),
    ("not yet valid", NO, "nbf: in the future", lambda f, s, w: f.with_claims(nbf=now(180))),
    ("nbf a string", NO, "nbf: not an integer number of seconds", lambda f, s, w: f.with_claims(nbf="0")),
    ("nbf null", NO, "nbf: not an integer number of seconds", lambda f, s, w: f.with_claims(nbf=None)),
    ("issued in the future", NO, "iat: in the future", lambda f, s, w: f.with_claims(iat=now(180))),
    ("iat a float", NO, "iat: not an integer number of seconds", lambda f, s, w: f.with_claims(iat=1.5)),
    ("iat negative", NO, "iat: not an integer number of seconds", lambda f, s, w: f.with_claims(iat=-5)),
    # who
    ("no sub", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub=...)),
    ("sub empty", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub="")),
    ("sub a space", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub=" ")),
    ("sub a number", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub=7)),
    ("sub with NUL", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub="joe\0")),
    ("sub with a lone surrogate", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub="joe\ud800")),
    ("sub too long", NO, "sub: not a short text", lambda f, s, w: f.with_claims(sub="j" * 256)),
    ("no tenant", NO, "tenant: not a short text", lambda f, s, w: f.with_claims(tenant=...)),
    ("tenant null", NO, "tenant: not a short text", lambda f, s, w: f.with_claims(tenant=None)),
    ("tenant empty", NO, "tenant: not a short text", lambda f, s, w: f.with_claims(tenant="")),
    ("tenant a list", NO, "tenant: not a short text", lambda f, s, w: f.with_claims(tenant=["acme", "globex"])),
    ("tenant too long", NO, "tenant: not a short text", lambda f, s, w: f.with_claims(tenant="t" * 65)),
    ("tenant with a space", NO, "tenant: not visible ASCII", lambda f, s, w: f.with_claims(tenant="acme ")),
    ("tenant in look-alike letters", NO, "tenant: not visible ASCII", lambda f, s, w: f.with_claims(tenant="аcme")),  # noqa: RUF001
    ("scope a list", NO, "scope: not one string", lambda f, s, w: f.with_claims(scope=["payments:write"])),
    ("scope null", NO, "scope: not one string", lambda f, s, w: f.with_claims(scope=None)),
    ("roles a string", NO, "roles: not a list of strings", lambda f, s, w: f.with_claims(roles="admin")),
    ("roles with a number", NO, "roles: not a list of strings", lambda f, s, w: f.with_claims(roles=["admin", 1])),
]


def swapped(f) -> bytes:
    mine, theirs = f.token().split(b"."), f.with_claims(tenant="globex").split(b".")
    return b".".join([mine[0], theirs[1], mine[2]])


def huge(f) -> bytes:
    return f.token(payload=json.dumps(f.claims(exp=1)).replace('"exp": 1', '"exp": ' + "9" * 2000).encode())


def infinite(f) -> bytes:
    return f.token(payload=json.dumps(f.claims(exp=1)).replace('"exp": 1', '"exp": 1e999').encode())


@pytest.fixture
async def verifier(auth_settings, key_server, issuer, weak):
    key_server.publish(issuer.jwk(), issuer.jwk(kid="key-enc", use="enc"), weak.jwk())
    trust = Trust(auth_settings)
    await trust.open()
    yield Verifier(auth_settings, trust)
    await trust.close()


@pytest.mark.parametrize(("what", "status", "why", "make"), TABLE, ids=[row[0] for row in TABLE])
async def test_the_table(what, status, why, make, verifier, issuer, stranger, weak):
    token = make(issuer, stranger, weak)
    if status == OK:
        assert (await verifier.verify([b"Bearer " + token])).tenant == "acme"
        return
    for _ in range(2):  # a refused token must not be remembered as a good one
        with pytest.raises(InvalidTokenError) as refused:
            await verifier.verify([b"Bearer " + token])
    assert refused.value.status == status
    assert refused.value.reason.startswith(why)
    # the answer is the same whatever was wrong
    assert (refused.value.code, str(refused.value)) == ("invalid-token", "The bearer token is not valid.")
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}


LINES = [
    ("no line", MissingTokenError, lambda _: []),
    ("another scheme", MissingTokenError, lambda _: [b"Basic am9lOmpvZQ=="]),
    ("empty line", MissingTokenError, lambda _: [b""]),
    ("no scheme", MissingTokenError, lambda token: [token]),
    ("no token", InvalidTokenError, lambda _: [b"Bearer"]),
    ("no token after the space", InvalidTokenError, lambda _: [b"Bearer "]),
    ("two lines", InvalidTokenError, lambda token: [b"Bearer " + token, b"Bearer " + token]),
    ("a tab", MissingTokenError, lambda token: [b"Bearer\t" + token]),
    ("a parameter behind it", InvalidTokenError, lambda token: [b"Bearer " + token + b" x=y"]),
    ("other case", None, lambda token: [b"bEARER " + token]),
    ("two spaces", None, lambda token: [b"Bearer  " + token]),
    ("text", None, lambda token: ["Bearer " + token.decode()]),
    ("text that is not ASCII", InvalidTokenError, lambda token: ["Bearer é\ud800" + token.decode()]),
]


@pytest.mark.parametrize(("what", "error", "lines"), LINES, ids=[row[0] for row in LINES])
async def test_the_authorization_line(what, error, lines, verifier, issuer):
    if error is None:
        assert (await verifier.verify(lines(issuer.token()))).sub == "joe"
        return
    with pytest.raises(error) as refused:
        await verifier.verify(lines(issuer.token()))
    expected = "Bearer" if error is MissingTokenError else 'Bearer error="invalid_token"'
    assert refused.value.headers["WWW-Authenticate"] == expected


async def test_nothing_but_the_principal_travels_on(verifier, issuer):
    token = issuer.with_claims(scope="a  b", roles=["r"], client_id="shop", email="joe@example.com")
    principal = await verifier.verify([b"Bearer " + token])
    assert (principal.sub, principal.tenant, principal.client_id) == ("joe", "acme", "shop")
    assert (principal.scopes, principal.roles) == (frozenset("ab"), frozenset("r"))
    assert "example.com" not in repr(principal)


async def test_the_reason_is_logged_and_the_token_is_not(verifier, issuer):
    token = issuer.with_claims(sub=7)
    with capture_logs() as lines, pytest.raises(InvalidTokenError):
        await verifier.verify([b"Bearer " + token])
    assert [line["reason"] for line in lines] == ["sub: not a short text"]
    assert token.decode()[:40] not in repr(lines)
