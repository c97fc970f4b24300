"""One webhook to one merchant: pinned to an address that was checked, signed, once, no redirects."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from paidonce.app.messaging.answers import NoAnswer, NotSent, Refused, Succeeded, Throttled
from paidonce.app.settings import Settings
from paidonce.app.webhooks import signing
from paidonce.app.webhooks.delivery import Delivery, resolve
from paidonce.app.webhooks.endpoints import Endpoint

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
BODY = b'{"type":"payment.captured","timestamp":"2026-01-01T00:00:00Z","data":{"note":"\xc3\xa9"}}'
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
LOOPBACK = ip_address("127.0.0.1")


def settings(*, private: bool = True, call_s: float = 5.0) -> Settings:
    return Settings(webhook_private_addresses=private, webhook_call_s=call_s)


def endpoint(url: str, secret: str = SECRET) -> Endpoint:
    now = datetime.now(UTC)
    return Endpoint(tenant="acme", url=url, secret=secret, events=None, created_at=now, updated_at=now)


def status(line: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n{headers}\r\n".encode()


def parted(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


class Names:
    """A resolver that answers from a script, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int):
        self.asked.append((host, port))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return [ip_address(one) for one in answer]


async def test_what_arrives_is_signed_under_the_events_id_and_says_the_name(raw_server) -> None:
    server = await raw_server(lambda _: NO_CONTENT)
    url = f"http://merchant.example:{server.port}/hooks?of=acme"
    async with Delivery(settings(), resolver=Names(["127.0.0.1"])) as delivery:
        assert await delivery.deliver(endpoint(url), "evt-1", BODY) == Succeeded({})
    first, headers, body = parted(server.requests[0])
    assert first == "POST /hooks?of=acme HTTP/1.1"
    assert headers["host"] == f"merchant.example:{server.port}"
    assert headers["webhook-id"] == "evt-1"
    assert body == BODY
    Webhook(SECRET).verify(body, headers)
    assert signing.verify(SECRET, headers, body, now=datetime.now(UTC)) == "evt-1"


async def test_a_repeat_keeps_the_id_and_is_signed_anew_with_the_secret_of_the_day(raw_server) -> None:
    server = await raw_server(lambda _: NO_CONTENT)
    new = "whsec_" + "QUJD" * 10
    async with Delivery(settings()) as delivery:
        await delivery.deliver(endpoint(server.url), "evt-1", BODY)
        await delivery.deliver(endpoint(server.url, new), "evt-1", BODY)
    (_, old_headers, _), (_, headers, body) = map(parted, server.requests)
    assert headers["webhook-id"] == old_headers["webhook-id"] == "evt-1"
    Webhook(new).verify(body, headers)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (status("200 OK"), Succeeded({})),
        (status("202 Accepted"), Succeeded({})),
        (status("299 Odd"), Succeeded({})),
        (status("410 Gone"), Refused("gone", {})),
        (status("429 Slow Down", "Retry-After: 9\r\n"), Throttled(9.0)),
        (status("400 Bad Request"), NoAnswer("status 400")),
        (status("401 Unauthorized"), NoAnswer("status 401")),
        (status("404 Not Found"), NoAnswer("status 404")),
        (status("500 Oops"), NoAnswer("status 500")),
        (status("503 Away", "Retry-After: 9\r\n"), NoAnswer("status 503")),
        (b"close", NoAnswer("RemoteProtocolError")),
        (b"nonsense\r\n\r\n", NoAnswer("RemoteProtocolError")),
    ],
    ids=range(12),
)
async def test_answers(raw_server, reply, answer) -> None:
    server = await raw_server(lambda _: reply)
    async with Delivery(settings()) as delivery:
        assert await delivery.deliver(endpoint(server.url), "evt-1", BODY) == answer
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused(raw_server, code) -> None:
    other = await raw_server(lambda _: NO_CONTENT)
    server = await raw_server(lambda _: status(f"{code} Elsewhere", f"Location: {other.url}/\r\n"))
    async with Delivery(settings()) as delivery:
        assert await delivery.deliver(endpoint(server.url), "evt-1", BODY) == NoAnswer(f"status {code}")
    assert other.requests == []


async def test_a_body_without_an_end_is_not_read(raw_server) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    server = await raw_server(lambda _: head)
    async with Delivery(settings(call_s=2)) as delivery:
        assert await delivery.deliver(endpoint(server.url), "evt-1", BODY) == Succeeded({})


async def test_a_silent_merchant_costs_the_time_limit(raw_server) -> None:
    server = await raw_server(lambda _: NO_CONTENT, gated=True)
    async with Delivery(settings(call_s=0.5)) as delivery:
        assert await delivery.deliver(endpoint(server.url), "evt-1", BODY) == NoAnswer("time limit")


async def test_a_silent_resolver_costs_the_time_limit() -> None:
    async def never(_host: str, _port: int):
        await asyncio.Event().wait()

    async with Delivery(settings(call_s=0.1), resolver=never) as delivery:
        found = await delivery.deliver(endpoint("http://merchant.example"), "evt-1", BODY)
    assert found == NotSent("address: time limit")


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(raw_server) -> None:
    """DNS rebinding: public when it is checked, loopback when somebody asks again. Nobody asks again."""
    victim = await raw_server(lambda _: NO_CONTENT)
    names = Names(["9.9.9.9"], ["127.0.0.1"])
    delivery = Delivery(settings(private=False, call_s=0.3), resolver=names)
    asked_for = _record_connections(delivery)
    async with delivery:
        found = await delivery.deliver(endpoint(f"http://evil.example:{victim.port}/"), "evt-1", BODY)
    assert found == NotSent("ConnectError")
    assert names.asked == [("evil.example", victim.port)]
    assert asked_for == [("9.9.9.9", victim.port)]
    assert victim.connections == 0


def _record_connections(delivery: Delivery) -> list[tuple[str, int]]:
    """Let the client connect nowhere, and say where it wanted to: a test must not touch the internet."""
    asked_for: list[tuple[str, int]] = []

    class Nowhere(httpcore.AsyncNetworkBackend):
        async def connect_tcp(self, host, port, **_):
            asked_for.append((host, port))
            raise httpcore.ConnectError("nowhere")

    delivery._http._pool.http._transport._pool._network_backend = Nowhere()
    return asked_for


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%1"],
        ["64:ff9b::7f00:1"],
        ["9.9.9.9", "127.0.0.1"],
        ["2620:fe::fe", "fd00::1"],
    ],
    ids=" ".join,
)
async def test_a_name_with_one_private_address_is_refused(raw_server, addresses) -> None:
    server = await raw_server(lambda _: NO_CONTENT)
    async with Delivery(settings(private=False), resolver=Names(addresses)) as delivery:
        found = await delivery.deliver(endpoint(f"http://evil.example:{server.port}"), "evt-1", BODY)
    assert found == NotSent("address: not an address of the public internet")
    assert server.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_every_spelling_of_loopback_is_refused(raw_server, host) -> None:
    server = await raw_server(lambda _: NO_CONTENT)
    async with Delivery(settings(private=False)) as delivery:
        found = await delivery.deliver(endpoint(f"http://{host}:{server.port}"), "evt-1", BODY)
    assert isinstance(found, NotSent)
    assert found.reason.startswith("address: ")
    assert server.connections == 0


async def test_a_name_without_an_address_is_not_sent() -> None:
    async with Delivery(settings(), resolver=Names([])) as delivery:
        assert isinstance(await delivery.deliver(endpoint("http://a.example"), "evt-1", BODY), NotSent)
        long = endpoint(f"http://{'a' * 64}.example")
    async with Delivery(settings()) as delivery:
        assert isinstance(await delivery.deliver(long, "evt-1", BODY), NotSent)


async def test_the_systems_resolver_gives_addresses() -> None:
    assert LOOPBACK in await resolve("127.0.0.1", 80)


async def test_no_connection_is_kept(raw_server) -> None:
    """A second tenant's name may lead to the same address: its own certificate must be asked for."""
    server = await raw_server(lambda _: status("200 OK"))
    async with Delivery(settings(), resolver=Names(["127.0.0.1"])) as delivery:
        for name in ("one.example", "two.example"):
            found = await delivery.deliver(endpoint(f"http://{name}:{server.port}"), "evt-1", BODY)
            assert found == Succeeded({})
    assert server.connections == 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's TLS for merchant.example, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "merchant.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("merchant.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(key.private_bytes(*form) + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_tls_is_checked_against_the_name_not_the_address(raw_server, certificates) -> None:
    tls, trusting = certificates
    server = await raw_server(lambda _: NO_CONTENT, tls=tls)
    async with Delivery(settings(), resolver=Names(["127.0.0.1"]), tls=trusting) as delivery:
        good, bad = f"https://merchant.example:{server.port}", f"https://other.example:{server.port}"
        assert await delivery.deliver(endpoint(good), "evt-1", BODY) == Succeeded({})
        assert await delivery.deliver(endpoint(bad), "evt-1", BODY) == NotSent("ConnectError")
    async with Delivery(settings(), resolver=Names(["127.0.0.1"])) as delivery:
        assert await delivery.deliver(endpoint(good), "evt-1", BODY) == NotSent("ConnectError")
    assert len(server.requests) == 1
