"""What may come behind a chunked body? Nothing that counts as the request's head, and not without an end."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import orjson
import pytest

BODY = b'{"amount": 1999, "currency": "EUR", "payment_method": "pm_ok"}'
MEBIBYTE = 1_048_576


@pytest.fixture
def wire(api: str) -> Iterator[socket.socket]:
    url = urlsplit(api)
    with socket.create_connection((url.hostname, url.port), timeout=20) as connected:
        yield connected


def head(token: str | None = None, *lines: str) -> bytes:
    bearer = [f"Authorization: Bearer {token}"] if token else []
    fixed = ["Host: x", "Content-Type: application/json", "Transfer-Encoding: chunked"]
    return "\r\n".join(["POST /v1/payments HTTP/1.1", *fixed, *bearer, *lines, "", ""]).encode()


def in_one_chunk(body: bytes, *trailers: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, b"".join(line + b"\r\n" for line in trailers))


def answered(wire: socket.socket) -> tuple[int, bytes]:
    received = wire.recv(65_536)
    return int(received.split(b" ")[1]), received


def sent(wire: socket.socket, piece: bytes) -> None:
    """Send a mebibyte, or what of it is taken."""
    with suppress(OSError):
        for _ in range(MEBIBYTE // len(piece)):
            wire.sendall(piece)


def ended(wire: socket.socket) -> bool:
    """Wait for the end of the connection; bytes that nobody read make it a reset."""
    with suppress(ConnectionResetError):
        return wire.recv(65_536) == b""
    return True


def test_a_key_behind_the_body_is_no_key(wire: socket.socket, token: Any) -> None:
    wire.sendall(head(token()) + in_one_chunk(BODY, b"Idempotency-Key: behind"))
    status, received = answered(wire)
    assert (status, b"idempotency-key-missing" in received) == (400, True)


def test_lines_behind_the_body_change_nothing(wire: socket.socket, token: Any) -> None:
    key = f"Idempotency-Key: {uuid4().hex}"
    wire.sendall(head(token(), key) + in_one_chunk(BODY, b"Idempotency-Key: other", b"Authorization: Bearer x"))
    assert answered(wire)[0] == 201
    # The connection goes on, and its next request is read by itself.
    wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answered(wire)[0] == 200


@pytest.mark.parametrize(
    ("begins", "piece"),
    [
        (b"0\r\n", b"X: " + b"a" * 4_000 + b"\r\n"),
        (b"0\r\nX: ", b"a" * 65_536),
        (b"1;x=", b"a" * 65_536),
        (b"", b"0" * 65_536),
    ],
    ids=["lines", "one line", "a chunk's extension", "a chunk's length"],
)
@pytest.mark.parametrize("bearing", [True, False], ids=["awaited", "answered"])
def test_it_has_an_end(wire: socket.socket, token: Any, begins: bytes, piece: bytes, bearing: bool) -> None:
    wire.sendall(head(token() if bearing else None, f"Idempotency-Key: {uuid4().hex}"))
    if not bearing:
        assert answered(wire)[0] == 401
    wire.sendall(begins)
    sent(wire, piece)
    if bearing:
        status, received = answered(wire)
        assert (status, orjson.loads(received.partition(b"\r\n\r\n")[2])["code"]) == (431, "head-too-large")
    assert ended(wire), "a second answer would be taken for that of the next request"


def test_what_was_answered_is_not_answered_again(wire: socket.socket) -> None:
    wire.sendall(head())
    assert answered(wire)[0] == 401
    wire.sendall(b"nonsense\r\n")
    assert ended(wire), "a second answer would be taken for that of the next request"


def test_a_body_of_many_small_chunks_is_read(client: httpx.Client) -> None:
    pieces = [BODY[at : at + 1] for at in range(len(BODY))] + [b" "] * 10_000
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    assert client.post("/v1/payments", content=iter(pieces), headers=headers).status_code == 201
