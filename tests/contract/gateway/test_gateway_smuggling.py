"""Can a request be hidden in another, or a header behind one? Sent in bytes that no client library would write."""

import pytest

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module")
def service(serve, here):
    return serve(here.echo)


@pytest.fixture(scope="module")
def gateway(run, here, keys, service):
    return here.start(run, {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(service)]})


HIDDEN = b"GET /v1/payments?hidden HTTP/1.1\r\nHost: x\r\nX-User-Id: root\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + HIDDEN
FRAMINGS = [
    ("length, then chunks", b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(CHUNKED), CHUNKED),
    ("chunks, then length", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKED),
    ("two lengths", b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    ("a list of lengths", b"Content-Length: 0, %d\r\n" % len(HIDDEN), HIDDEN),
    ("a signed length", b"Content-Length: +%d\r\n" % len(HIDDEN), HIDDEN),
    ("a length in hexadecimal", b"Content-Length: 0x%x\r\n" % len(HIDDEN), HIDDEN),
    ("a blank before the colon", b"Content-Length: %d\r\nTransfer-Encoding : chunked\r\n" % len(CHUNKED), CHUNKED),
    ("a folded line", b"Content-Length: %d\r\nTransfer-Encoding:\r\n chunked\r\n" % len(CHUNKED), CHUNKED),
    ("a tab in the value", b"Content-Length: %d\r\nTransfer-Encoding: \tchunked\r\n" % len(CHUNKED), CHUNKED),
    ("an underscore", b"Content-Length: %d\r\nTransfer_Encoding: chunked\r\n" % len(CHUNKED), CHUNKED),
    ("another coding", b"Content-Length: %d\r\nTransfer-Encoding: xchunked\r\n" % len(CHUNKED), CHUNKED),
    ("two codings", b"Transfer-Encoding: chunked, identity\r\n", CHUNKED),
    ("chunks twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
    ("a bare line end", b"A: b\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n" % len(CHUNKED), CHUNKED),
    ("a bare carriage return", b"A: b\rX-User-Id: root\r\nContent-Length: 0\r\n", b""),
    ("NUL", b"A: b\0c\r\nContent-Length: 0\r\n", b""),
    ("an upgrade", b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    ("a chunk whose length is too long", b"Transfer-Encoding: chunked\r\n", b"10000000000000000\r\n" + HIDDEN),
    ("a chunk with a bare line end", b"Transfer-Encoding: chunked\r\n", b"0\n\n" + HIDDEN),
    ("a chunk in hexadecimal", b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n" + HIDDEN),
]


@pytest.mark.parametrize(("framing", "content"), [pytest.param(*row[1:], id=row[0]) for row in FRAMINGS])
def test_a_hidden_request_reaches_nobody(gateway, service, parties, framing, content):
    """It may be refused as a whole, read as a body, or read as a request of its own: one without a token."""
    before = len(service.seen)
    bearing = b"Authorization: Bearer " + parties.issuer.token() + b"\r\n"
    gateway.raw(
        b"POST /v1/payments HTTP/1.1\r\nHost: x\r\n" + bearing + framing + b"\r\n" + content + b"EOF / x\r\n\r\n"
    )
    seen = service.seen[before:]
    assert len(seen) <= 1
    assert all((one.method, one.target) == ("POST", "/v1/payments") for one in seen)
    assert all(one.values("x-user-id") == ["joe"] for one in seen)
    assert all(len(one.values("content-length") + one.values("transfer-encoding")) == 1 for one in seen)


def test_lines_behind_the_body_do_not_arrive(gateway, service, parties):
    lines = b"X-User-Id: root\r\nAuthorization: Bearer x\r\nIdempotency-Key: behind\r\n"
    gateway.raw(
        b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-User-Id\r\n"
        b"Authorization: Bearer "
        + parties.issuer.token()
        + b"\r\n\r\n2\r\n{}\r\n0\r\n"
        + lines
        + b"\r\nEOF / x\r\n\r\n"
    )
    seen = service.seen[-1]
    assert (seen.body, seen.values("x-user-id")) == (b"{}", ["joe"])
    assert not {"root", "behind", "Bearer x"} & {value for _, value in seen.headers}


@pytest.mark.parametrize("named", [b"X-User-Id, X-Tenant, X-Scopes", b"close, X-User-Id", b"keep-alive, X-Tenant"])
def test_nobody_names_a_header_that_is_to_be_dropped(gateway, service, parties, named):
    """`Connection` names what is not to be passed on (RFC 9110, section 7.6.1): never what the gateway itself says."""
    gateway.raw(
        b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: "
        + named
        + b"\r\nAuthorization: Bearer "
        + parties.issuer.token()
        + b"\r\n\r\nEOF / x\r\n\r\n"
    )
    seen = service.seen[-1]
    assert (seen.values("x-user-id"), seen.values("x-tenant")) == (["joe"], ["acme"])
    assert not any("x-" in value.lower() for value in seen.values("connection"))
