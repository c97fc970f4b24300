"""What may come instead of a token, or as one? One table, for the verifier, the API and every gateway in front of it.

Each row says how its request is made, what every one of them answers, and why: the words with which the
verifier's own log begins. The keys are those of `Parties`; `key_set` is what the issuer must publish.
Tests take the table by the fixture `attack_table`, or one row at a time by the argument `attack`.
"""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from paidonce.app.settings import Settings

OK, NO = 200, 401
BYTES_MAX: int = Settings.model_fields["token_bytes_max"].default
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True)
class Parties:
    """Who writes tokens: the issuer, a stranger who names the issuer's key, and one whose key has 1024 bits."""

    issuer: Any
    stranger: Any
    weak: Any

    def key_set(self) -> list[dict]:
        """Return what the issuer publishes; the short key and the key for encryption are never to be used."""
        return [self.issuer.jwk(), self.issuer.jwk(kid="key-enc", use="enc"), self.weak.jwk()]


@dataclass(frozen=True)
class Sent:
    """A request without its address: wherever a valid token is needed, `GET` it, or `POST` the form."""

    headers: tuple[tuple[str, bytes], ...] = ()
    query: str = ""
    form: bytes = b""

    def lines(self) -> list[bytes]:
        return [value for name, value in self.headers if name.lower() == "authorization"]


@dataclass(frozen=True)
class Attack:
    name: str
    status: int
    #: how the reason in the log begins; "" where no token came at all
    why: str
    make: Callable[[Parties], Sent]
    #: whether HTTP carries it as it is; if not, only the verifier can be asked
    carried: bool = True

    @property
    def challenge(self) -> str | None:
        """The WWW-Authenticate of the answer (RFC 6750, section 3.1: no error code where no token came)."""
        if self.status != NO:
            return None
        return 'Bearer error="invalid_token"' if self.why else "Bearer"


def bearer(*tokens: bytes) -> Sent:
    return Sent(tuple(("Authorization", b"Bearer " + token) for token in tokens))


def _token(name: str, status: int, why: str, make: Callable[[Any], bytes], *, carried: bool = True) -> Attack:
    return Attack(name, status, why, lambda parties: bearer(make(parties.issuer)), carried)


def _resolved(changes: dict) -> dict:
    now = int(time.time())
    return {name: value(now) if callable(value) else value for name, value in changes.items()}


def _claims(name: str, why: str, **changes: Any) -> Attack:
    return _token(name, NO if why else OK, why, lambda f: f.with_claims(**_resolved(changes)))


def _header(name: str, why: str, **changes: Any) -> Attack:
    return _token(name, NO if why else OK, why, lambda f: f.with_header(**changes))


def _payload_ends(name: str, why: str, text: str) -> Attack:
    """The valid claims, with `text` in place of the last brace."""
    return _token(name, NO, why, lambda f: f.token(payload=json.dumps(f.claims()).encode()[:-1] + text.encode()))


def _header_ends(name: str, why: str, text: str) -> Attack:
    return _token(name, NO, why, lambda f: f.token(header=json.dumps(f.header).encode()[:-1] + text.encode()))


def _exp(name: str, why: str, literal: str) -> Attack:
    """The valid claims, with `exp` the JSON text given."""
    return _token(
        name, NO, why, lambda f: f.token(payload=json.dumps(f.claims(exp="@")).replace('"@"', literal).encode())
    )


def _head(token: bytes) -> bytes:
    return token.rsplit(b".", 1)[0]


def _signed_anew(f: Any, sign: Callable[[bytes], bytes], **header: Any) -> bytes:
    head = _head(f.with_header(**header))
    return head + b"." + f.b64(sign(head))


def _hs256(secret_of: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda f: _signed_anew(f, lambda head: hmac.new(secret_of(f), head, hashlib.sha256).digest(), alg="HS256")


def _signature(change: Callable[[bytes], bytes]) -> Callable[[Any], bytes]:
    def make(f: Any) -> bytes:
        head, signature = f.token().rsplit(b".", 1)
        return head + b"." + f.b64(change(urlsafe_b64decode(signature + b"==")))

    return make


def _spare_bits(f: Any) -> bytes:
    token = f.token()  # 256 bytes are 342 characters, the last of which has four bits that decode to nothing
    return token[:-1] + bytes([ALPHABET[ALPHABET.index(token[-1]) ^ 1]])


def _swapped(f: Any) -> bytes:
    mine, theirs = f.token().split(b"."), f.with_claims(tenant="globex").split(b".")
    return b".".join([mine[0], theirs[1], mine[2]])


def _plain_base64(f: Any) -> bytes:
    """A token whose signature is written in the other alphabet, in which it looks different."""
    token = next(token for n in range(1_000) if b"-" in (token := f.with_claims(jti=str(n))).rsplit(b".", 1)[1])
    head, signature = token.rsplit(b".", 1)
    return head + b"." + signature.replace(b"-", b"+").replace(b"_", b"/")


def sized(f: Any, size: int) -> bytes:
    """Return a valid token of exactly `size` bytes."""
    for n in range(4):  # base64 has no texts of 4n+1 characters: the header makes up what the payload cannot
        spare = size - len(f.token(header=f.header | {"x5t": "x" * n}, payload=f.claims(note="")))
        for filled in range(spare * 3 // 4 - 3, spare * 3 // 4 + 3):
            token = f.token(header=f.header | {"x5t": "x" * n}, payload=f.claims(note="x" * filled))
            if len(token) == size:
                return token
    raise AssertionError(f"no token has {size} bytes")


RS256, TYP, KID = "header: alg is not RS256", "header: typ is not that", "header: kid is not a short string"
MEMBER, UNKNOWN, BAD = "header: a member that we do not allow", "kid: unknown to the issuer", "signature: BadSignature"
CANONICAL, FOREIGN = "signature: not canonical base64url", "signature: not"
SECONDS, OTHER, AUD = "not an integer number of seconds", "iss: another issuer", "aud: not for us"
PURPOSE, KIND, DEEP = "typ: not an access token", "a claim of another kind of token", "nested too deeply"
SUB, TENANT, PARTS = "sub: not a short text", "tenant: not a short text", "not three segments"
TWICE = "duplicate members"

LETS_IN = (
    _claims("as it should be", ""),
    _header("typ JWT", "", typ="JWT"),
    _header("typ in other case", "", typ="AT+JWT"),
    _header("typ with application/", "", typ="application/at+jwt"),
    _header("an unknown header member", "", x5t="abc"),
    _claims("aud a list with us in it", "", aud=["account", "paidonce"]),
    _claims("payload typ Bearer (Keycloak)", "", typ="Bearer"),
    _claims("no nbf (Keycloak)", "", nbf=...),
    _claims("no scope", "", scope=...),
    _claims("roles", "", roles=["support"]),
    _claims("expired, within the skew", "", exp=lambda now: now - 60),
    _claims("nbf ahead, within the skew", "", nbf=lambda now: now + 60),
    _claims("brackets in a string", "", note="[" * 50),
    _token("of the largest size", OK, "", lambda f: sized(f, BYTES_MAX)),
    Attack("scheme in other case", OK, "", lambda p: Sent((("Authorization", b"bEARER " + p.issuer.token()),))),
    Attack("header name in other case", OK, "", lambda p: Sent((("aUTHORIZATION", b"Bearer " + p.issuer.token()),))),
)
SIGNATURE = (
    Attack("another's key", NO, BAD, lambda p: bearer(p.stranger.token())),
    Attack("a key that is too short", NO, UNKNOWN, lambda p: bearer(p.weak.token())),
    _token("alg none, unsigned", NO, CANONICAL, lambda f: _head(f.with_header(alg="none")) + b"."),
    _header("alg none, signed", RS256, alg="none"),
    _header("alg nOnE", RS256, alg="nOnE"),
    _token("HS256 with the public key (JWK) as secret", NO, RS256, _hs256(lambda f: json.dumps(f.jwk()).encode())),
    _token("HS256 with the public key (PEM) as secret", NO, RS256, _hs256(lambda f: f.pem())),
    _token("HS256 with an empty secret", NO, RS256, _hs256(lambda _: b"")),
    _header("alg HS512 (Keycloak's refresh token)", RS256, alg="HS512"),
    _header("alg RS384", RS256, alg="RS384"),
    _header("alg RS512", RS256, alg="RS512"),
    _header("alg PS256", RS256, alg="PS256"),
    _header("alg ES256", RS256, alg="ES256"),
    _header("alg EdDSA", RS256, alg="EdDSA"),
    _header("alg RSA-OAEP", RS256, alg="RSA-OAEP"),
    _header("alg rs256", RS256, alg="rs256"),
    _header("alg RS256 and a space", RS256, alg="RS256 "),
    _header("alg RS256 and NUL", RS256, alg="RS256\0"),
    _header("alg a list", RS256, alg=["RS256"]),
    _header("alg null", RS256, alg=None),
    _header("no alg", RS256, alg=...),
    _token("no signature", NO, CANONICAL, lambda f: _head(f.token()) + b"."),
    _token("signature of zeros", NO, BAD, _signature(lambda s: bytes(len(s)))),
    _token("signature 0", NO, BAD, _signature(lambda _: b"\0")),
    _token("signature cut short", NO, BAD, _signature(lambda s: s[:-1])),
    _token("signature with a byte more", NO, BAD, _signature(lambda s: s + b"\0")),
    _token("signature with a zero before it", NO, BAD, _signature(lambda s: b"\0" + s)),
    _token("signature backwards", NO, BAD, _signature(lambda s: s[::-1])),
    _token("signature with spare bits", NO, CANONICAL, _spare_bits),
    _token("payload of another token", NO, BAD, _swapped),
    _token(
        "signed over SHA-1",
        NO,
        BAD,
        lambda f: _signed_anew(f, lambda head: f.private.sign(head, padding.PKCS1v15(), hashes.SHA1())),
    ),
    _token(
        "signed by PSS, and says RS256",
        NO,
        BAD,
        lambda f: _signed_anew(
            f, lambda head: f.private.sign(head, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        ),
    ),
)
FORM = (
    _token("not a token", NO, PARTS, lambda _: b"hello"),
    _token("two segments", NO, PARTS, lambda f: _head(f.token())),
    _token("four segments", NO, PARTS, lambda f: f.token() + b".AAAA"),
    _token("five segments, as an encrypted token has", NO, PARTS, lambda f: f.token() + b".AAAA.AAAA"),
    _token("a dot at the end", NO, PARTS, lambda f: f.token() + b"."),
    _token("empty segments", NO, "header: not canonical base64url", lambda _: b".."),
    _token("padding", NO, CANONICAL, lambda f: f.token() + b"=="),
    _token("padding inside", NO, "payload: not", lambda f: f.token()[::-1].replace(b".", b".=", 1)[::-1]),
    _token("a character of a token more", NO, "signature: ", lambda f: f.token() + b"A"),
    _token("trailing bytes", NO, FOREIGN, lambda f: f.token() + b"%00"),
    _token("plain base64 alphabet", NO, CANONICAL, _plain_base64),
    _token("a space inside", NO, "header: not", lambda f: f.token().replace(b".", b" .", 1)),
    _token("a line break inside", NO, "header: not", lambda f: f.token().replace(b".", b"\n.", 1), carried=False),
    _token("a space at the end", NO, FOREIGN, lambda f: f.token() + b" ", carried=False),
    _token("NUL at the end", NO, FOREIGN, lambda f: f.token() + b"\0", carried=False),
    _token("two tokens with a comma", NO, PARTS, lambda f: f.token() + b"," + f.token()),
    _token("in quotes", NO, "header: not", lambda f: b'"' + f.token() + b'"'),
    _token("a byte too long", NO, "too long", lambda f: sized(f, BYTES_MAX + 1)),
    _token("twice too long", NO, "too long", lambda f: sized(f, 2 * BYTES_MAX)),
    _token("not ASCII", NO, FOREIGN, lambda f: f.token() + "é".encode()),
)
JSON = (
    _token("header not JSON", NO, "header: Expecting value:", lambda f: f.token(header=b"alg")),
    _token("header a list", NO, "header: not a JSON object", lambda f: f.token(header=b"[]")),
    _token("payload a string", NO, "payload: not a JSON object", lambda f: f.token(payload=b'"joe"')),
    _token("payload null", NO, "payload: not a JSON object", lambda f: f.token(payload=b"null")),
    _token("payload empty", NO, "payload: not canonical", lambda f: f.token(payload=b"")),
    _token("payload not UTF-8", NO, "payload: 'utf-8' codec", lambda f: f.token(payload=b'{"sub": "\xff"}')),
    _token("payload in UTF-16", NO, "payload: ", lambda f: f.token(payload=json.dumps(f.claims()).encode("utf-16"))),
    _token(
        "payload with a byte order mark",
        NO,
        "payload: Unexpected UTF-8 BOM",
        lambda f: f.token(payload=b"\xef\xbb\xbf" + json.dumps(f.claims()).encode()),
    ),
    _header_ends("alg twice", f"header: {TWICE}", ', "alg": "RS256"}'),
    _header_ends("kid twice", f"header: {TWICE}", ', "kid": "key-1"}'),
    _payload_ends("tenant twice", f"payload: {TWICE}", ', "tenant": "globex"}'),
    _payload_ends("aud twice", f"payload: {TWICE}", ', "aud": "paidonce"}'),
    _payload_ends("tenant twice, once escaped", f"payload: {TWICE}", ', "\\u0074enant": "globex"}'),
    _payload_ends("a member twice, further down", f"payload: {TWICE}", ', "a": {"b": 1, "b": 2}}'),
    _payload_ends("NaN", "payload: NaN is not JSON", ', "a": NaN}'),
    _payload_ends("a comment", "payload: ", ', "a": 1} // good'),
    _payload_ends("text after the object", "payload: Extra data:", "} {}"),
    _header_ends("deep header", f"header: {DEEP}", ', "a": ' + "[" * 900 + "]" * 900 + "}"),
    _payload_ends("deep payload", f"payload: {DEEP}", ', "a": ' + "[" * 1000 + "]" * 1000 + "}"),
    _payload_ends("deep objects", f"payload: {DEEP}", ', "a": ' + '{"a":' * 300 + "1" + "}" * 300 + "}"),
    _token("unclosed brackets", NO, f"payload: {DEEP}", lambda f: f.token(payload=b"[" * 2000)),
)
HEADER = (
    _header("no typ", TYP, typ=...),
    _header("typ of a logout token", TYP, typ="logout+jwt"),
    _header("typ DPoP", TYP, typ="dpop+jwt"),
    _header("typ of an introspection answer", TYP, typ="token-introspection+jwt"),
    _header("typ a number", TYP, typ=1),
    _header("crit", MEMBER, crit=["exp"]),
    _header("crit, empty", MEMBER, crit=[]),
    _header("crit b64, b64 true", MEMBER, crit=["b64"], b64=True),
    _header("b64 false", MEMBER, b64=False),
    Attack("its own key", NO, MEMBER, lambda p: bearer(p.stranger.with_header(jwk=p.stranger.jwk()))),
    _header("a link to its own keys", MEMBER, jku="http://127.0.0.1:1/jwks"),
    _header("a link to its own certificate", MEMBER, x5u="http://127.0.0.1:1/x"),
    _header("its own certificate", MEMBER, x5c=["MII="]),
    _header("compressed", MEMBER, zip="DEF"),
    _header("encrypted, it says", MEMBER, enc="A256GCM"),
    _header("no kid", KID, kid=...),
    _header("kid empty", KID, kid=""),
    _header("kid null", KID, kid=None),
    _header("kid a number", KID, kid=1),
    _header("kid a list", KID, kid=["key-1"]),
    _header("kid too long", KID, kid="k" * 129),
    _header("kid with NUL", KID, kid="key-1\0"),
    _header("kid a path", UNKNOWN, kid="../../key-1"),
    _header("kid a device", UNKNOWN, kid="../../../../../../dev/null"),
    _header("kid with SQL", UNKNOWN, kid="x' UNION SELECT 'secret' --"),
    _header("kid with a command", UNKNOWN, kid="key-1|/usr/bin/id"),
    _header("kid an address", UNKNOWN, kid="http://127.0.0.1:1/jwks"),
    _header("kid in other case", UNKNOWN, kid="KEY-1"),
    _header("kid of an encryption key", UNKNOWN, kid="key-enc"),
    _header("kid unknown", UNKNOWN, kid="key-2"),
)
PARTICIPANTS = (
    _claims("another issuer", OTHER, iss="https://issuer.example.evil"),
    _claims("issuer with a slash more", OTHER, iss="https://issuer.example/"),
    _claims("issuer in other case", OTHER, iss="https://ISSUER.example"),
    _claims("issuer a list", OTHER, iss=["https://issuer.example"]),
    _claims("no issuer", OTHER, iss=...),
    _claims("for another audience", AUD, aud="account"),
    _claims("audience in other case", AUD, aud="Paidonce"),
    _claims("audience that begins with ours", AUD, aud="paidonce-admin"),
    _claims("audience with ours and a comma", AUD, aud="paidonce,account"),
    _claims("audience with ours and a space", AUD, aud="paidonce account"),
    _claims("no audience (Keycloak's lightweight token)", AUD, aud=...),
    _claims("audience null", AUD, aud=None),
    _claims("audience an empty list", AUD, aud=[]),
    _claims("audience an object", AUD, aud={"paidonce": 1}),
    _claims("audience a list with a number", AUD, aud=["paidonce", 1]),
    _claims("audience a list in a list", AUD, aud=[["paidonce"]]),
    _claims("no sub", SUB, sub=...),
    _claims("sub empty", SUB, sub=""),
    _claims("sub a space", SUB, sub=" "),
    _claims("sub a number", SUB, sub=7),
    _claims("sub a list", SUB, sub=["joe"]),
    _claims("sub with NUL", SUB, sub="joe\0"),
    _claims("sub with a line break", SUB, sub="joe\r\nX-Tenant: globex"),
    _claims("sub with a lone surrogate", SUB, sub="joe\ud800"),
    _claims("sub too long", SUB, sub="j" * 256),
    _claims("no tenant", TENANT, tenant=...),
    _claims("tenant null", TENANT, tenant=None),
    _claims("tenant empty", TENANT, tenant=""),
    _claims("tenant a list", TENANT, tenant=["acme", "globex"]),
    _claims("tenant an object", TENANT, tenant={"id": "acme"}),
    _claims("tenant too long", TENANT, tenant="t" * 65),
    _claims("tenant with a line break", TENANT, tenant="acme\r\nX-Tenant: globex"),
    _claims("tenant with a space", "tenant: not visible ASCII", tenant="acme "),
    _claims("tenant in look-alike letters", "tenant: not visible ASCII", tenant="\u0430cme"),
    _claims("scope a list", "scope: not one string", scope=["payments:write"]),
    _claims("scope null", "scope: not one string", scope=None),
    _claims("scope an object", "scope: not one string", scope={"payments:write": True}),
    _claims("roles a string", "roles: not a list of strings", roles="admin"),
    _claims("roles with a number", "roles: not a list of strings", roles=["admin", 1]),
)
PURPOSES = (
    _claims("an ID token, by its typ (Keycloak)", PURPOSE, typ="ID"),
    _claims("an ID token, by its audience", AUD, aud="shop", azp="shop", nonce="n", email="joe@example.com"),
    _claims("an ID token, by its at_hash", KIND, at_hash="x"),
    _claims("an ID token, by its c_hash", KIND, c_hash="x"),
    _claims("a refresh token", PURPOSE, typ="Refresh"),
    _claims("an offline token", PURPOSE, typ="Offline"),
    _claims("a registration token", PURPOSE, typ="RegistrationAccessToken"),
    _claims("payload typ null", PURPOSE, typ=None),
    _claims("payload typ a list", PURPOSE, typ=["Bearer"]),
    _claims("a logout token", KIND, events={}),
    _claims("bound to a key (DPoP)", KIND, cnf={"jkt": "x"}),
    _claims("bound to a certificate", KIND, cnf={"x5t#S256": "x"}),
)
TIMES = (
    _claims("expired", "exp: expired", exp=lambda now: now - 121),
    _claims("expired long ago", "exp: expired", exp=0),
    _claims("no exp", f"exp: {SECONDS}", exp=...),
    _claims("exp a string", f"exp: {SECONDS}", exp=lambda now: str(now + 600)),
    _claims("exp a float", f"exp: {SECONDS}", exp=lambda now: now + 600.5),
    _claims("exp a whole float", f"exp: {SECONDS}", exp=lambda now: float(now + 600)),
    _claims("exp true", f"exp: {SECONDS}", exp=True),
    _claims("exp null", f"exp: {SECONDS}", exp=None),
    _claims("exp a list", f"exp: {SECONDS}", exp=lambda now: [now + 600]),
    _claims("exp negative", f"exp: {SECONDS}", exp=-1),
    _claims("exp in milliseconds", f"exp: {SECONDS}", exp=lambda now: (now + 600) * 1_000),
    _claims("exp 2^63", f"exp: {SECONDS}", exp=2**63),
    _exp("exp infinite", f"exp: {SECONDS}", "1e999"),
    _exp("exp of 2000 digits", f"exp: {SECONDS}", "9" * 2_000),
    _exp("exp with an exponent", f"exp: {SECONDS}", "4e9"),
    _exp("exp with a leading zero", "payload: ", "04000000000"),
    _claims("not yet valid", "nbf: in the future", nbf=lambda now: now + 180),
    _claims("nbf a string", f"nbf: {SECONDS}", nbf="0"),
    _claims("nbf null", f"nbf: {SECONDS}", nbf=None),
    _claims("nbf huge", f"nbf: {SECONDS}", nbf=2**64),
    _claims("issued in the future", "iat: in the future", iat=lambda now: now + 180),
    _claims("iat a float", f"iat: {SECONDS}", iat=1.5),
    _claims("iat negative", f"iat: {SECONDS}", iat=-5),
)
PLACES = (
    Attack("no token", NO, "", lambda _: Sent()),
    Attack("another scheme", NO, "", lambda _: Sent((("Authorization", b"Basic am9lOmpvZQ=="),))),
    Attack("an empty line", NO, "", lambda _: Sent((("Authorization", b""),))),
    Attack("no scheme", NO, "", lambda p: Sent((("Authorization", p.issuer.token()),))),
    Attack("scheme DPoP", NO, "", lambda p: Sent((("Authorization", b"DPoP " + p.issuer.token()),))),
    Attack("a tab behind the scheme", NO, "", lambda p: Sent((("Authorization", b"Bearer\t" + p.issuer.token()),))),
    Attack("no token behind the scheme", NO, PARTS, lambda _: Sent((("Authorization", b"Bearer"),))),
    Attack("a parameter behind the token", NO, "signature: not", lambda p: bearer(p.issuer.token() + b" x=y")),
    Attack("two lines with good tokens", NO, "more than one", lambda p: bearer(p.issuer.token(), p.issuer.token())),
    Attack("a good line and a bad one", NO, "more than one", lambda p: bearer(p.issuer.token(), p.stranger.token())),
    Attack("a bad line and a good one", NO, "more than one", lambda p: bearer(p.stranger.token(), p.issuer.token())),
    Attack("in the query", NO, "", lambda p: Sent(query="access_token=" + p.issuer.token().decode())),
    Attack("in a form", NO, "", lambda p: Sent(form=b"access_token=" + p.issuer.token())),
    Attack("in a cookie", NO, "", lambda p: Sent((("Cookie", b"access_token=" + p.issuer.token()),))),
    Attack("for the proxy", NO, "", lambda p: Sent((("Proxy-Authorization", b"Bearer " + p.issuer.token()),))),
    Attack("in a header of another name", NO, "", lambda p: Sent((("X-Access-Token", p.issuer.token()),))),
    Attack("only what a gateway injects", NO, "", lambda _: Sent((("X-User-Id", b"joe"), ("X-Tenant", b"acme")))),
)
TABLE = (*LETS_IN, *SIGNATURE, *FORM, *JSON, *HEADER, *PARTICIPANTS, *PURPOSES, *TIMES, *PLACES)
