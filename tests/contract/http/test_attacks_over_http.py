"""Does the running API answer every row of the attack table as the table says, and tell nobody why?"""

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from paidonce.app.api.problems import MEDIA_TYPE, TYPE_BASE

#: The whole answer to a refused token, but for the request's id: nothing in it tells the reasons apart.
INVALID = {
    "type": f"{TYPE_BASE}invalid-token",
    "title": "The bearer token is not valid.",
    "status": 401,
    "detail": "The bearer token is not valid.",
    "code": "invalid-token",
}
MISSING = {
    "type": f"{TYPE_BASE}missing-token",
    "title": "This request needs an Authorization header with a bearer token.",
    "status": 401,
    "detail": "This request needs an Authorization header with a bearer token.",
    "code": "missing-token",
}
#: Differ from answer to answer.
OWN = {"date", "x-request-id"}


@pytest.fixture(scope="module")
def caller(guarded: str) -> Any:
    with httpx.Client(base_url=guarded, trust_env=False, timeout=10) as opened:
        yield opened


def answer_to(caller: httpx.Client, sent: Any) -> httpx.Response:
    """Send a row of the table to a route that needs a token."""
    headers = [(name.encode(), value) for name, value in sent.headers]
    if sent.form:
        headers.append((b"Content-Type", b"application/x-www-form-urlencoded"))
        return caller.post("/v1/payments", content=sent.form, headers=headers)
    return caller.get("/v1/me" + (f"?{sent.query}" if sent.query else ""), headers=headers)


def test_the_table_over_http(attack: Any, caller: httpx.Client, parties: Any) -> None:
    if not attack.carried:
        pytest.skip("HTTP does not carry it as it is")
    for _ in range(2):  # a refused token must not be remembered as a good one
        answer = answer_to(caller, attack.make(parties))
        assert answer.status_code == attack.status, answer.text
        if attack.status == 200:
            assert answer.json()["tenant"] == "acme"
            continue
        document = orjson.loads(answer.content)
        assert document.pop("request_id") == answer.headers["x-request-id"]
        assert document == (INVALID if attack.why else MISSING)
        assert {name: value for name, value in answer.headers.items() if name not in OWN} == {
            "www-authenticate": attack.challenge,
            "content-type": MEDIA_TYPE,
            "content-length": str(len(answer.content)),
            "x-content-type-options": "nosniff",
            "cache-control": "private, no-cache",
        }


@pytest.mark.parametrize(
    ("end", "statuses"),
    [
        (b"\n.e30.AAAA", {400, 401}),
        (b"\r\n.e30.AAAA", {400, 401}),
        (b"\0", {400}),
        (b"\x7f", {400, 401}),
        (b"\r\n folded", {400, 401}),
        (b" \t ", {200}),  # blanks at a line's end are not part of its value (RFC 9110, section 5.5)
    ],
)
def test_a_line_that_no_client_would_write(guarded: str, parties: Any, end: bytes, statuses: set[int]) -> None:
    line = b"Authorization: Bearer " + parties.issuer.token() + end
    url = urlsplit(guarded)
    assert url.hostname is not None
    assert url.port is not None
    with socket.create_connection((url.hostname, url.port), timeout=10) as wire:
        wire.sendall(b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + line + b"\r\n\r\n")
        answer = wire.makefile("rb").read()
    assert int(answer.split(b" ")[1]) in statuses, answer
