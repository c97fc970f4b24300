"""Does the running API answer every row of the attack table as the table says, and tell nobody why?"""

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paidonce.app.api.problems import MEDIA_TYPE, TYPE_BASE
from paidonce.app.main import config
from paidonce.app.settings import Settings

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
    assert on_the_wire(guarded, head(parties.issuer.token() + end)) in statuses


def head(token: bytes, size: int = 0) -> bytes:
    """Return a request for /v1/me, its head filled up to `size` bytes."""
    line = b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token + b"\r\n"
    filler = size - len(line) - len(b"X: \r\n\r\n")
    return line + (b"X: " + b"a" * filler + b"\r\n" if size else b"") + b"\r\n"


def on_the_wire(address: str, *parts: bytes) -> int:
    """Send a request, in parts, and return the status of its answer."""
    url = urlsplit(address)
    assert url.hostname is not None
    assert url.port is not None
    with socket.create_connection((url.hostname, url.port), timeout=10) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            wire.sendall(part)
        received = wire.makefile("rb").read()
    assert received, "the connection ended without an answer"
    return int(received.split(b" ")[1])


@pytest.mark.parametrize(
    "changed", [{}, {"token_bytes_max": 1_500, "api_head_bytes_max": 4_000}], ids=["default", "set"]
)
def test_one_setting_each_says_how_large_token_and_head_may_be(
    changed: dict[str, int], guarded_settings: Settings, serving: Any, parties: Any, sized: Any
) -> None:
    small = guarded_settings.model_copy(update=changed)
    token_max, head_max = small.token_bytes_max, small.api_head_bytes_max
    with serving(config(small)) as url:
        assert on_the_wire(url, head(sized(parties.issuer, token_max))) == 200
        assert on_the_wire(url, head(sized(parties.issuer, token_max + 1))) == 401
        for size, status in ((head_max, 200), (head_max + 1, 431)):
            whole = head(parties.issuer.token(), size)
            assert len(whole) == size
            assert on_the_wire(url, whole) == status
            assert on_the_wire(url, *(whole[at : at + 997] for at in range(0, size, 997))) == status
            assert on_the_wire(url, whole[:-1], whole[-1:]) == status


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_token_is_neither_let_in_nor_an_error_of_ours(data: Any, guarded: str, parties: Any) -> None:
    valid = parties.issuer.token(payload=parties.issuer.claims(iat=1_800_000_000 - 10**9, nbf=0, exp=4_000_000_000))
    at, cut = data.draw(st.integers(0, len(valid))), data.draw(st.integers(0, 4))
    put = data.draw(st.binary(max_size=4) | st.text("AZaz09-_.=", max_size=4).map(str.encode))
    mutated = valid[:at] + put + valid[at + cut :]
    # A line's end would end the token there: that is another request, not another token.
    if mutated.strip(b" \t") != valid and not {*b"\r\n"} & {*mutated}:
        assert on_the_wire(guarded, head(mutated)) in {400, 401}
