"""Where are the limits of size? At each all pass, one byte above all are refused, and nobody says 502."""

import json

import pytest

from paidonce.app.settings import Settings

pytestmark = pytest.mark.gateway
HEAD_MAX = Settings.model_fields["api_head_bytes_max"].default
BODY_MAX = Settings.model_fields["api_body_bytes_max"].default
TOKEN_MAX = Settings.model_fields["token_bytes_max"].default


@pytest.fixture(scope="module")
def service(serve, here):
    return serve(here.echo)


@pytest.fixture(scope="module")
def gateway(run, here, keys, service):
    return here.start(run, {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(service)]})


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def head(token: bytes, size: int, *, in_target: bool) -> bytes:
    """A request whose head has `size` bytes on the wire."""
    lines = [b"Host: x", b"Connection: close", b"Authorization: Bearer " + token]
    target = b"/v1/me"
    padding = size - len(b"GET  HTTP/1.1\r\n\r\n" + target) - sum(len(line) + 2 for line in lines)
    if in_target:
        target += b"?" + b"x" * (padding - 1)
    else:
        # Of several lines, each below any line's own limit.
        while padding > 0:
            length = padding if padding <= 4_000 else 2_000
            lines.append(b"X-P: " + b"p" * (length - len(b"X-P: \r\n")))
            padding -= length
    request = b"GET " + target + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    assert len(request) == size
    return request


@pytest.mark.parametrize("in_target", [False, True])
@pytest.mark.parametrize(("above", "status"), [(0, 200), (1, 431), (HEAD_MAX, 431), (10 * HEAD_MAX, 431)])
def test_the_head(gateway, service, parties, above, status, in_target):
    before = len(service.seen)
    answer = gateway.raw(head(parties.issuer.token(), HEAD_MAX + above, in_target=in_target))
    assert status_of(answer) == status, answer
    assert (len(service.seen) > before) == (status == 200)
    if status == 431:
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["code"] == "head-too-large"


def sized_token(f, size: int) -> bytes:
    """A valid token of so many bytes."""
    for extra in range(4):
        # Three bytes of payload are four of token, so some sizes need a longer header.
        header = f.header | {"x": "h" * extra}
        short = len(f.token(header=header, payload=f.claims(note="")))
        for length in range((size - short) * 3 // 4 - 3, (size - short) * 3 // 4 + 4):
            token = f.token(header=header, payload=f.claims(note="n" * length))
            if len(token) == size:
                return token
    raise AssertionError(f"no token of {size} bytes")


@pytest.mark.parametrize(("above", "status"), [(0, 200), (1, 401)])
def test_the_token(gateway, caller, parties, here, above, status):
    token = sized_token(parties.issuer, TOKEN_MAX + above)
    answer = caller.get(f"{gateway.url}/v1/me", headers=here.bearing(token))
    assert answer.status_code == status
    if above:
        assert gateway.logged('"reason":"too long"')


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("above", "status"), [(0, 200), (1, 413)])
def test_the_body(gateway, service, caller, parties, here, above, status, chunked):
    before = len(service.seen)
    body = b"x" * (BODY_MAX + above)
    answer = caller.post(
        f"{gateway.url}/v1/payments",
        headers=here.bearing(parties.issuer.token()),
        content=iter([body]) if chunked else body,
    )
    assert answer.status_code == status
    if status == 200:
        assert service.seen[-1].body == body
    else:
        assert answer.json()["code"] == "payload-too-large"
        assert len(service.seen) == before


def test_all_limits_at_once(gateway, service, parties):
    """The largest head with the largest token and the largest body."""
    token = sized_token(parties.issuer, TOKEN_MAX)
    request = head(
        token,
        HEAD_MAX - len(f"Content-Length: {BODY_MAX}\r\n") - len("POST /v1/payments") + len("GET /v1/me"),
        in_target=False,
    )
    request = request.replace(b"GET /v1/me ", b"POST /v1/payments ", 1)
    request = request.replace(b"\r\nConnection", f"\r\nContent-Length: {BODY_MAX}\r\nConnection".encode(), 1)
    answer = gateway.raw(request + b"x" * BODY_MAX)
    assert status_of(answer) == 200, answer
    assert len(service.seen[-1].body) == BODY_MAX


#: Envoy's words for what it reads otherwise: a target that means nothing is no route, and CONNECT no request.
ENVOYS = {b"GET /v1/%zz": 404, b"CONNECT": 400}
UNREADABLE = [
    (b"GET /healthz\r\n", 400),
    (b"GARBAGE\r\n\r\n", 400),
    (b"GET /v1/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\nConnection: close\r\n\r\n", 400),
    (b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    (b"TRACE /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
    (b"CONNECT /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
    (b"GET /.paidonce/unreadable HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
]


@pytest.mark.parametrize(("request_", "status"), UNREADABLE, ids=[row[0].decode()[:60] for row in UNREADABLE])
def test_what_cannot_be_read_gets_a_problem_document(here, gateway, service, request_, status):
    if here.kind == "Envoy":
        status = next((found for begin, found in ENVOYS.items() if request_.startswith(begin)), status)
    before = len(service.seen)
    answer = gateway.raw(request_)
    body = answer.split(b"\r\n\r\n", 1)[-1] if answer.startswith(b"HTTP/") else answer
    assert json.loads(body)["status"] == status
    assert len(service.seen) == before
