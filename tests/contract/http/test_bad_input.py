"""Does every malformed request get a 4xx problem document, and change nothing? Never a 5xx, never a traceback."""

import json
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paidonce.app.api.heads import capped
from paidonce.app.api.problems import TYPE_BASE
from paidonce.app.main import config

P = "/v1/payments"
GOOD = {"amount": 1999, "currency": "EUR", "payment_method": "pm_ok"}
ID = "019b0f2e-0b5c-7c31-9d0a-4d8e3a1f6c22"
JSON = {"Content-Type": "application/json"}
State = Callable[[], dict[str, str]]


def body(**changes: Any) -> bytes:
    return orjson.dumps({name: value for name, value in (GOOD | changes).items() if value is not ...})


def raw(text: str, member: str = "amount") -> bytes:
    """A good body in which one member is the JSON text given."""
    return body(**{member: "@"}).replace(b'"@"', text.encode())


#: what is wrong, the body, status and code
BODIES: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", 415, "unsupported-media-type"),
    ("no JSON", b"amount=1", 400, "malformed-json"),
    ("half a body", body()[:-1], 400, "malformed-json"),
    ("two bodies", body() * 2, 400, "malformed-json"),
    ("a number", b"1", 400, "malformed-json"),
    ("an array", b"[" + body() + b"]", 400, "malformed-json"),
    ("null", b"null", 400, "malformed-json"),
    ("a byte-order mark", b"\xef\xbb\xbf" + body(), 400, "malformed-json"),
    ("UTF-16", body().decode().encode("utf-16"), 400, "malformed-json"),
    ("broken UTF-8", body(reference="@").replace(b"@", b"\xff"), 400, "malformed-json"),
    ("an overlong UTF-8", body(reference="@").replace(b"@", b"\xc0\xaf"), 400, "malformed-json"),
    ("a surrogate in UTF-8", body(reference="@").replace(b"@", b"\xed\xa0\x80"), 400, "malformed-json"),
    ("a lone surrogate", raw('"\\ud800"', "reference"), 400, "malformed-json"),
    ("surrogates in the wrong order", raw('"\\udc00\\ud800"', "reference"), 400, "malformed-json"),
    ("NUL", raw('"a\\u0000b"', "reference"), 400, "malformed-json"),
    ("NUL in a metadata name", raw('{"\\u0000": "x"}', "metadata"), 400, "malformed-json"),
    ("a raw control character", body(reference="@").replace(b"@", b"\x01"), 400, "malformed-json"),
    ("duplicate members", body().replace(b"{", b'{"amount":1,'), 400, "malformed-json"),
    ("duplicate members below", raw('{"a":"1","a":"2"}', "metadata"), 400, "malformed-json"),
    ("duplicate members, one escaped", body().replace(b"{", b'{"\\u0061mount":1,'), 400, "malformed-json"),
    ("NaN", raw("NaN"), 400, "malformed-json"),
    ("Infinity", raw("-Infinity"), 400, "malformed-json"),
    ("an endless string behind deep arrays", b'{"a":' + b"[" * 9 + b'],"b":"' + b'\\"' * 30_000, 400, "malformed-json"),
    ("deep arrays", raw("[" * 20_000 + "]" * 20_000), 400, "malformed-json"),
    ("deep objects", raw('{"a":' * 9_000 + "1" + "}" * 9_000), 400, "malformed-json"),
    ("a number of 10,000 digits", raw("9" * 10_000), 400, "malformed-json"),
    ("2^63", raw(str(2**63)), 422, "unprocessable"),
    ("-2^63 - 1", raw(str(-(2**63) - 1)), 422, "unprocessable"),
    ("2^53", raw(str(2**53)), 422, "unprocessable"),
    ("one too much", raw("100000000000"), 422, "unprocessable"),
    ("zero", raw("0"), 422, "unprocessable"),
    ("negative", raw("-1"), 422, "unprocessable"),
    ("a float", raw("19.99"), 422, "unprocessable"),
    ("a whole float", raw("1.0"), 422, "unprocessable"),
    ("an exponent", raw("1e2"), 422, "unprocessable"),
    ("1e400", raw("1e400"), 422, "unprocessable"),
    ("a boolean", raw("true"), 422, "unprocessable"),
    ("a string", raw('"1999"'), 422, "unprocessable"),
    ("no amount", body(amount=...), 422, "unprocessable"),
    ("null amount", raw("null"), 422, "unprocessable"),
    ("no currency", body(currency=...), 422, "unprocessable"),
    ("an unknown currency", body(currency="ZZZ"), 422, "unprocessable"),
    ("gold", body(currency="XAU"), 422, "unprocessable"),
    ("a currency in small letters", body(currency="eur"), 422, "unprocessable"),
    ("a withdrawn currency", body(currency="DEM"), 422, "unprocessable"),
    ("no payment method", body(payment_method=...), 422, "unprocessable"),
    ("an empty payment method", body(payment_method=""), 422, "unprocessable"),
    ("a payment method with a line end", body(payment_method="pm_ok\n"), 422, "unprocessable"),
    ("a long payment method", body(payment_method="p" * 256), 422, "unprocessable"),
    ("an unknown member", body(capture=True), 422, "unprocessable"),
    ("a customer nobody knows", body(customer_id="nobody"), 422, "customer-unknown"),
    ("a bad customer id", body(customer_id="a/b"), 422, "unprocessable"),
    ("a long reference", body(reference="r" * 256), 422, "unprocessable"),
    ("a long description", body(description="d" * 1_001), 422, "unprocessable"),
    ("metadata that is an array", body(metadata=[]), 422, "unprocessable"),
    ("metadata with a number", body(metadata={"a": 1}), 422, "unprocessable"),
    ("metadata with an object", body(metadata={"a": {"b": "c"}}), 422, "unprocessable"),
    ("51 entries of metadata", body(metadata={str(n): "x" for n in range(51)}), 422, "unprocessable"),
    ("a long metadata name", body(metadata={"n" * 65: "x"}), 422, "unprocessable"),
    ("a long metadata value", body(metadata={"n": "x" * 501}), 422, "unprocessable"),
    ("an empty metadata name", body(metadata={"": "x"}), 422, "unprocessable"),
]


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Hold an answer to what every problem document is."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == TYPE_BASE + code
    assert document["status"] == status
    assert document["title"]
    assert "Traceback" not in answer.text
    assert document["request_id"] == answer.headers["x-request-id"]
    return dict(document)


@pytest.mark.parametrize(("sent", "status", "code"), [pytest.param(*row[1:], id=row[0]) for row in BODIES])
def test_bodies(client: httpx.Client, state: State, sent: bytes, status: int, code: str) -> None:
    before = state()
    headers = {"Idempotency-Key": uuid4().hex} | (JSON if sent else {})
    refused(client.post(P, content=sent, headers=headers), status, code)
    assert state() == before


def test_a_wrong_member_is_pointed_at(client: httpx.Client) -> None:
    sent = body(amount=1.5, metadata={"a/b~c": 1}, capture=True)
    document = refused(client.post(P, content=sent, headers=JSON | {"Idempotency-Key": "k"}), 422, "unprocessable")
    assert {error["pointer"] for error in document["errors"]} == {"/amount", "/metadata/a~1b~0c", "/capture"}
    assert all(error["detail"] for error in document["errors"])


MEDIA_TYPES = [
    [],
    [("content-type", "")],
    [("content-type", "text/plain")],
    [("content-type", "application/x-www-form-urlencoded")],
    [("content-type", "application/merge-patch+json")],
    [("content-type", "application/jsonx")],
    [("content-type", "application/json; charset=latin-1")],
    [("content-type", "application/json; charset=utf-8; charset=utf-16")],
    [("content-type", "application/json; boundary=x")],
    [("content-type", "application/json"), ("content-type", "text/plain")],
    [("content-type", "application/json"), ("content-encoding", "gzip")],
]


@pytest.mark.parametrize("headers", MEDIA_TYPES, ids=str)
def test_media_types(client: httpx.Client, state: State, headers: list[tuple[str, str]]) -> None:
    before = state()
    answer = client.post(P, content=body(), headers=[*headers, ("idempotency-key", uuid4().hex)])
    refused(answer, 415, "unsupported-media-type")
    assert answer.headers["accept"] == "application/json"
    assert state() == before


@pytest.mark.parametrize("media_type", ["application/json", 'Application/JSON ; charset="UTF-8"', "application/json;"])
def test_media_types_that_are_json(client: httpx.Client, media_type: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": media_type}
    assert client.post(P, content=body(), headers=headers).status_code == 201


MISSING, MALFORMED = "idempotency-key-missing", "idempotency-key-malformed"
KEYS: list[tuple[list[bytes], str]] = [
    ([], MISSING),
    ([b""], MISSING),
    ([b'""'], MISSING),
    ([b"k" * 256], MALFORMED),
    ([b'"' + b"k" * 256 + b'"'], MALFORMED),
    ([b"a b"], MALFORMED),
    ([b'"open'], MALFORMED),
    ([b'"a"b"'], MALFORMED),
    ([b"a\tb"], MALFORMED),
    ([b"\xc3\xa9"], MALFORMED),
    ([b"\x80"], MALFORMED),
    ([b"one", b"two"], MALFORMED),
    ([b"one", b"one"], MALFORMED),
]


@pytest.mark.parametrize(("lines", "code"), KEYS, ids=str)
@pytest.mark.parametrize("path", [P, f"{P}/{ID}/cancel", f"{P}/{ID}/refunds"])
def test_keys(client: httpx.Client, state: State, path: str, lines: list[bytes], code: str) -> None:
    before = state()
    headers = [(b"content-type", b"application/json"), *((b"idempotency-key", line) for line in lines)]
    refused(client.post(path, content=body() if path == P else b"{}", headers=headers), 400, code)
    assert state() == before


def test_a_key_of_255_characters_is_a_key(client: httpx.Client) -> None:
    key = uuid4().hex.ljust(255, "k")
    assert client.post(P, json=GOOD, headers={"Idempotency-Key": key}).status_code == 201


#: method, path, status, code
PATHS = [
    ("GET", "/v2/payments", 404, "not-found"),
    ("GET", "/", 404, "not-found"),
    ("GET", "/v1/payments/", 404, "not-found"),
    ("GET", "//v1/payments", 404, "not-found"),
    ("GET", "/docs/../app/main.py", 404, "not-found"),
    ("GET", "/docs/%2e%2e%2fapp", 404, "not-found"),
    ("GET", "/docs/redoc.standalone.js", 404, "not-found"),
    ("GET", f"{P}/1", 404, "not-found"),
    ("GET", f"{P}/{ID.upper()}", 404, "not-found"),
    ("GET", f"{P}/{ID.replace('-', '')}", 404, "not-found"),
    ("GET", f"{P}/urn:uuid:{ID}", 404, "not-found"),
    ("GET", f"{P}/%00", 404, "not-found"),
    ("GET", f"{P}/%ff", 404, "not-found"),
    ("GET", f"{P}/%ED%A0%80", 404, "not-found"),
    ("GET", f"{P}/{'x' * 5000}", 404, "not-found"),
    ("GET", f"{P}/{ID}%0a", 404, "not-found"),
    ("GET", f"{P}%0a", 404, "not-found"),
    ("GET", f"{P}/{ID}/refunds/x", 404, "not-found"),
    ("POST", f"{P}/x/cancel", 404, "not-found"),
    ("DELETE", P, 405, "method-not-allowed"),
    ("PUT", f"{P}/{ID}", 405, "method-not-allowed"),
    ("GET", "/webhooks/provider", 405, "method-not-allowed"),
    ("POST", "/healthz", 405, "method-not-allowed"),
    ("GET", f"{P}?limit=0", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=101", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=-1", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=1.0", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=%D9%A1", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=1e1", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=", 400, "invalid-parameter"),
    ("GET", f"{P}?limit=1&limit=1", 400, "invalid-parameter"),
    ("GET", f"{P}?limit={'9' * 5000}", 400, "invalid-parameter"),
    ("GET", f"{P}?order=asc", 400, "invalid-parameter"),
    ("GET", f"{P}?Limit=1", 400, "invalid-parameter"),
    ("GET", f"{P}?", 200, ""),
    ("GET", f"{P}?&", 400, "invalid-parameter"),
    ("GET", f"{P}?status=paid", 400, "invalid-parameter"),
    ("GET", f"{P}?status=%ff", 400, "invalid-parameter"),
    ("GET", f"{P}?customer_id=%00", 400, "invalid-parameter"),
    ("GET", f"{P}?customer_id=a%0a", 400, "invalid-parameter"),
    ("GET", f"{P}?customer_id={'c' * 129}", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor=", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor=x", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor=%00", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor={ID}", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor=AAAAAAAAAAAAAAAAAAAAAAA", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor=AQAAAAAAAAAAAAAAAAAAAAB", 400, "invalid-parameter"),
    ("GET", f"{P}?cursor={'A' * 4000}", 400, "invalid-parameter"),
    ("GET", f"{P}/{ID}?x=1", 400, "invalid-parameter"),
    ("GET", "/v1/me?x", 400, "invalid-parameter"),
    ("GET", "/healthz?verbose", 400, "invalid-parameter"),
    ("PUT", "/v1/customers/%00", 400, "invalid-id"),
    ("PUT", "/v1/customers/%20", 400, "invalid-id"),
    ("PUT", "/v1/customers/%C3%A9", 400, "invalid-id"),
    ("PUT", f"/v1/customers/{'c' * 129}", 400, "invalid-id"),
    ("GET", "/v1/customers/a%0a", 400, "invalid-id"),
    ("DELETE", "/v1/customers/a%3Bb", 400, "invalid-id"),
    ("PATCH", "/v1/customers/a%5Cb", 400, "invalid-id"),
    ("GET", "/v1/customers/a%2Fb", 404, "not-found"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), PATHS, ids=str)
def test_paths_and_queries(client: httpx.Client, state: State, method: str, path: str, status: int, code: str) -> None:
    before = state()
    answer = exchange(client, f"{method} {path} HTTP/1.1", b"{}" if method in ("PUT", "PATCH") else b"", JSON)
    assert answer.status == status, answer.body
    if status != 200:
        assert orjson.loads(answer.body)["code"] == code
        assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert answer.headers["allow"]
    assert state() == before


def test_a_method_that_a_path_does_not_know_names_those_it_does(client: httpx.Client) -> None:
    assert client.delete(P).headers["allow"] == "GET, HEAD, OPTIONS, POST"


CONDITIONS = ["abc", '"open', "W/", '"a" "b"', ",", "*, *", '"a", *', 'w/"a"', '"a\x7f"']


@pytest.mark.parametrize("value", CONDITIONS)
@pytest.mark.parametrize(("method", "header"), [("GET", "If-None-Match"), ("PATCH", "If-Match")])
def test_conditions(client: httpx.Client, state: State, method: str, header: str, value: str) -> None:
    client.put("/v1/customers/conditional", json={"name": "Ada"})
    before = state()
    options = {"json": {"name": "Eve"}} if method == "PATCH" else {}
    answer = client.request(method, "/v1/customers/conditional", headers={header: value}, **options)
    if "\x7f" in value:
        assert answer.status_code == 400
    else:
        refused(answer, 400, "invalid-header")
    assert state() == before


@pytest.mark.parametrize("etag", ['W/"{}"', '"{}x"', '""', '"x", "y"'])
def test_if_match_compares_strongly(client: httpx.Client, state: State, etag: str) -> None:
    current = client.put("/v1/customers/strong", json={"name": "Ada"}).headers["etag"].strip('"')
    before = state()
    headers = {"If-Match": etag.format(current)}
    refused(client.patch("/v1/customers/strong", json={}, headers=headers), 412, "precondition-failed")
    refused(client.put("/v1/customers/strong", json={"name": "Eve"}, headers=headers), 412, "precondition-failed")
    refused(client.delete("/v1/customers/strong", headers=headers), 412, "precondition-failed")
    assert state() == before


def test_if_match_takes_a_list_and_any(client: httpx.Client) -> None:
    current = client.put("/v1/customers/list", json={"name": "Ada"}).headers["etag"]
    for if_match in (f'"other" , {current}', "*"):
        assert client.patch("/v1/customers/list", json={}, headers={"If-Match": if_match}).status_code == 200


PATCHES = [
    ({"name": None}, "/name"),
    ({"name": ""}, "/name"),
    ({"email": "nobody"}, "/email"),
    ({"email": "a@b\nc"}, "/email"),
    ({"phone": None}, "/phone"),
    ({"metadata": {"a": 1}}, "/metadata/a"),
    ({"metadata": {str(n): "x" for n in range(51)}}, "/metadata"),
    ({"id": "other"}, "/id"),
]


@pytest.mark.parametrize(("patch", "pointer"), PATCHES, ids=str)
def test_patches(client: httpx.Client, state: State, patch: dict[str, Any], pointer: str) -> None:
    client.put("/v1/customers/patched", json={"name": "Ada"})
    before = state()
    answer = client.patch("/v1/customers/patched", json=patch, headers={"If-Match": "*"})
    document = refused(answer, 422, "unprocessable")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert state() == before


ENDPOINTS = [
    {"url": "ftp://shop.example/", "secret": "whsec_" + "A" * 44},
    {"url": "https://user:password@shop.example/", "secret": "whsec_" + "A" * 44},
    {"url": "https://[::1/", "secret": "whsec_" + "A" * 44},
    {"url": "https://", "secret": "whsec_" + "A" * 44},
    {"url": "https://xn--\u00e9/", "secret": "whsec_" + "A" * 44},
    {"url": "https://shop.example/", "secret": "hush-hush"},
    {"url": "https://shop.example/", "secret": "whsec_short"},
    {"url": "https://shop.example/", "secret": "whsec_" + "A" * 44, "events": []},
    {"url": "https://shop.example/", "secret": "whsec_" + "A" * 44, "events": ["payment.stolen"]},
]


@pytest.mark.parametrize("sent", ENDPOINTS, ids=str)
def test_endpoints(client: httpx.Client, state: State, sent: dict[str, Any]) -> None:
    before = state()
    document = refused(client.put("/v1/webhook-endpoint", json=sent), 422, "unprocessable")
    assert document["errors"][0]["pointer"].split("/")[1] in sent
    assert sent["secret"] not in orjson.dumps(document).decode()
    assert state() == before


def test_nothing_is_told_without_a_token(api: str, state: State) -> None:
    before = state()
    with httpx.Client(base_url=api, trust_env=False) as nobody:
        for method, path in (("POST", P), ("GET", f"{P}/{ID}"), ("OPTIONS", P), ("DELETE", P), ("GET", "/v1/me")):
            answer = nobody.request(method, path, content=b"{", headers={"Idempotency-Key": "k"})
            refused(answer, 401, "missing-token")
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert state() == before


def test_the_right_comes_before_the_body(api: str, token: Callable[..., str], state: State) -> None:
    before = state()
    headers = {"Authorization": f"Bearer {token(scopes=['payments:read'])}"}
    answer = httpx.post(f"{api}{P}", content=b"{", headers=headers, trust_env=False)
    refused(answer, 403, "insufficient-scope")
    assert "payments:write" in answer.headers["www-authenticate"]
    assert state() == before


class Answer:
    """An answer as it came off the wire."""

    def __init__(self, received: bytes) -> None:
        head, _, self.body = received.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(line.split(" ")[1])
        pairs = (each.partition(":") for each in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}


def exchange(client: httpx.Client, line: str, content: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
    """Send a request with a request line that no client library would write."""
    lines = {
        "Host": "x",
        "Authorization": client.headers["authorization"],
        "Connection": "close",
        "Content-Length": str(len(content)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in (lines | (headers or {})).items())
    return on_the_wire(client, f"{line}\r\n{head}\r\n".encode("latin-1") + content)


def on_the_wire(client: httpx.Client, sent: bytes) -> Answer:
    received = bytearray()
    with socket.create_connection(address(client), timeout=10) as wire:
        wire.sendall(sent)
        while chunk := wire.recv(65_536):
            received += chunk
    assert received, "the connection ended without an answer"
    return Answer(bytes(received))


def address(client: httpx.Client) -> tuple[str, int]:
    url = urlsplit(str(client.base_url))
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


HEADS: list[tuple[str, bytes, int]] = [
    ("one header beyond the cap", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 16_384 + b"\r\n\r\n", 431),
    ("a path beyond the cap", b"GET /" + b"a" * 16_384 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    ("many headers", b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 3_000 + b"\r\n", 431),
    ("an endless header", b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 1_000_000, 431),
    ("an endless request line", b"GET /" + b"a" * 1_000_000, 431),
    (
        "a head within the cap",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * 16_000 + b"\r\n\r\n",
        200,
    ),
    ("no Host", b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    ("no HTTP", b"hello\r\n\r\n", 400),
    ("TLS", bytes.fromhex("16030100a5010000a10303") + b"\r\n\r\n", 400),
    ("an unknown method", b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("an asterisk", b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ("a header without a name", b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n", 400),
    ("NUL in a header", b"GET /healthz HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
    ("a fragment", b"GET /v1/me#/../payments HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("bytes in the path", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("two lengths", b"POST /v1/payments HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (
        "length and chunks",
        b"POST /v1/payments HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a negative length", b"POST /v1/payments HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
]


@pytest.mark.parametrize(("sent", "status"), [pytest.param(*row[1:], id=row[0]) for row in HEADS])
def test_heads(client: httpx.Client, state: State, sent: bytes, status: int) -> None:
    before = state()
    answer = on_the_wire(client, sent)
    assert answer.status == status, answer.body
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
        codes = {400: "http-syntax", 404: "not-found", 431: "head-too-large"}
        assert orjson.loads(answer.body)["code"] == codes[status]
    assert state() == before


def test_a_bad_head_behind_a_good_request_does_not_mix_with_its_answer(client: httpx.Client) -> None:
    good = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = on_the_wire(client, good + b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n")
    assert (answer.status, answer.body) == (200, b'{"status":"ready"}')


def test_a_broken_chunk_is_refused_at_once(client: httpx.Client, state: State) -> None:
    before = state()
    lines = [
        f"POST {P} HTTP/1.1",
        "Host: x",
        "Transfer-Encoding: chunked",
        "Content-Type: application/json",
        "Idempotency-Key: k",
    ]
    lines.append(f"Authorization: {client.headers['authorization']}")
    answer = on_the_wire(client, "\r\n".join(lines).encode() + b"\r\n\r\n5\r\n{    \r\nnonsense\r\n")
    assert (answer.status, orjson.loads(answer.body)["code"]) == (400, "http-syntax")
    assert state() == before


@pytest.mark.parametrize("framing", ["Content-Length: 17", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("action", ["cancel", "refunds"])
def test_a_body_that_never_begins_is_no_empty_body(client: httpx.Client, rows: Any, framing: str, action: str) -> None:
    """An empty body means "all that is left": a lost one must not."""
    payment = client.post(P, json=GOOD, headers={"Idempotency-Key": uuid4().hex}).json()["id"]
    rows.execute("UPDATE payments SET status = 'captured', provider_charge_id = 'ch' WHERE id = %s", [payment])
    head = (
        f"POST {P}/{payment}/{action} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
        f"Idempotency-Key: {payment}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    )
    with socket.create_connection(address(client), timeout=10) as wire:
        wire.sendall(head.encode())
        wire.shutdown(socket.SHUT_WR)
        while wire.recv(65_536):
            pass
    assert rows.execute("SELECT count(*) FROM idempotency WHERE idem_key = %s", [payment]).fetchone() == (0,)


@pytest.mark.parametrize(
    "upgrade", ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", "Connection: Upgrade\r\nUpgrade: x"]
)
def test_a_body_under_an_upgrade_is_neither_dropped_nor_run(client: httpx.Client, upgrade: str) -> None:
    token = client.headers["authorization"]
    inner = f"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    head = (
        f"POST {P} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n{upgrade}\r\nContent-Length: {len(inner)}\r\n\r\n"
    )
    answer = on_the_wire(client, (head + inner).encode())
    assert answer.status == 400
    assert b"tenant" not in answer.body


def test_a_list_of_tags_is_read_in_one_pass(client: httpx.Client) -> None:
    """Under a pattern that goes back, twenty blanks more would take a million times as long as the test may."""
    assert client.get("/openapi.json", headers={"If-None-Match": '"a"' + ", " * 2_000 + "x"}).status_code == 400


def test_a_body_that_ends_early_changes_nothing(client: httpx.Client, state: State) -> None:
    before = state()
    lines = [
        f"POST {P} HTTP/1.1",
        "Host: x",
        "Content-Length: 500",
        "Content-Type: application/json",
        "Idempotency-Key: k",
    ]
    lines.append(f"Authorization: {client.headers['authorization']}")
    with socket.create_connection(address(client), timeout=10) as wire:
        wire.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body())
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(65_536) == b""
    assert state() == before


def test_a_head_that_does_not_come_is_not_waited_for(api_settings: Any, serving: Callable[..., Any]) -> None:
    impatient = config(api_settings)
    impatient.http = type("Impatient", (capped(16_384),), {"head_wait_s": 0.2})
    with serving(impatient) as url:
        parts = urlsplit(url)
        for sent in (b"", b"GET /healthz HTTP/1.1\r\nX: "):
            with socket.create_connection((parts.hostname, parts.port), timeout=10) as wire:
                wire.sendall(sent)
                assert wire.recv(65_536) == b""


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
@pytest.mark.parametrize("path", [P, "/v1/customers/large", "/webhooks/provider"])
def test_ten_megabytes(client: httpx.Client, state: State, path: str, announced: bool) -> None:
    before = state()
    large = b"[" * 10_000_000
    chunks = (large[start : start + 100_000] for start in range(0, len(large), 100_000))
    method = "PUT" if "customers" in path else "POST"
    headers = JSON | {"Idempotency-Key": "k"}
    answer = client.request(method, path, content=large if announced else chunks, headers=headers)
    refused(answer, 413, "payload-too-large")
    assert state() == before


def test_the_largest_body_is_read(client: httpx.Client, api_settings: Any) -> None:
    sent = body(metadata={}).ljust(api_settings.api_body_bytes_max)
    headers = JSON | {"Idempotency-Key": uuid4().hex}
    assert client.post(P, content=sent, headers=headers).status_code == 201
    headers["Idempotency-Key"] = uuid4().hex
    refused(client.post(P, content=sent + b" ", headers=headers), 413, "payload-too-large")


IDS = ["", "a b", "x" * 65, "é"]


@pytest.mark.parametrize("request_id", IDS)
def test_a_request_id_that_is_not_one_is_replaced(client: httpx.Client, request_id: str) -> None:
    given_id = client.get("/healthz", headers=[(b"x-request-id", request_id.encode())]).headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", given_id)


TRACES = [
    "",
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
]


@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_that_is_not_one_is_replaced(client: httpx.Client, rows: Any, trace: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex, "traceparent": trace}
    payment_id = client.post(P, json=GOOD, headers=headers).json()["id"]
    found = rows.execute("SELECT headers->>'traceparent' FROM outbox WHERE aggregateid = %s", [payment_id]).fetchone()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", found[0])
    assert found[0] != trace


# --- whatever else one may think of

_TEXT = st.text(max_size=20) | st.sampled_from(["\0", "\x7f", "\u2028", "\U0001f4b6", "EUR", "pm_ok"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_NAMES = ["amount", "currency", "payment_method", "customer_id", "reference", "description", "metadata", "reason"]
_BODIES = st.dictionaries(st.sampled_from([*_NAMES, "name", "email", "url", "secret", "events"]) | _TEXT, _JSON)
_ROUTES = st.sampled_from(
    [
        ("POST", P),
        ("POST", f"{P}/{ID}/cancel"),
        ("POST", f"{P}/{ID}/refunds"),
        ("PATCH", f"{P}/{ID}"),
        ("PUT", "/v1/customers/fuzzed"),
        ("PATCH", "/v1/customers/fuzzed"),
        ("PUT", "/v1/webhook-endpoint"),
        ("POST", "/webhooks/provider"),
    ]
)
_FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def _as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


@_FUZZ
@given(route=_ROUTES, sent=_BODIES.map(_as_json) | _JSON.map(_as_json) | st.binary(max_size=60))
def test_no_body_gives_a_5xx(client: httpx.Client, route: tuple[str, str], sent: bytes) -> None:
    headers = JSON | {"Idempotency-Key": uuid4().hex, "If-Match": "*"}
    answer = client.request(route[0], route[1], content=sent, headers=headers)
    assert answer.status_code < 500, (route, sent, answer.text)


@_FUZZ
@given(
    path=st.binary(max_size=30),
    query=st.binary(max_size=30),
    names=st.lists(
        st.tuples(
            st.sampled_from(["idempotency-key", "if-match", "if-none-match", "content-type", "x-request-id"]),
            st.binary(max_size=20),
        ),
        max_size=3,
    ),
)
def test_no_head_gives_a_5xx(client: httpx.Client, path: bytes, query: bytes, names: list[tuple[str, bytes]]) -> None:
    token = client.headers["authorization"].encode()
    lines = [b"GET /v1/customers/%b?%b HTTP/1.1" % (path, query), b"Authorization: " + token, b"Connection: close"]
    lines += [name.encode() + b": " + value for name, value in names]
    answer = on_the_wire(client, b"\r\n".join(lines) + b"\r\n\r\n")
    assert answer.status < 500, (path, query, names, answer.body)
