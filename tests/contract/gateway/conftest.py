"""Real gateways in front of services that write down what reaches them, and an issuer's key server; on loopback.

A test that asks for `here` runs once for each kind of gateway, unless its marker `only` names some.
"""

import datetime as dt
import ipaddress
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from paidonce.app.settings import Settings
from paidonce.devstack.envoy import start_envoy
from paidonce.devstack.nginx import start_nginx
from paidonce.devstack.pace import environment
from paidonce.devstack.ports import free_port, listening
from paidonce.devstack.postgres import Postgres
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until
from paidonce.gateway.plan import plan
from paidonce.gateway.render import KINDS
from paidonce.gateway.route_file import RouteFile

ISS = "https://issuer.example"
WAIT_S = 10.0
#: What a gateway adds to a head at most: three claims, percent-encoded.
ADDED_BYTES = 8_192
#: The columns of the table in docs/gateways.md, and how each starts.
STARTS = {"NGINX": start_nginx, "Envoy": start_envoy}
GATEWAYS = tuple(STARTS)
#: Not kept by git: docs/gateways.py makes the table from it.
FINDINGS = Path(__file__).parents[3] / "reports" / "gateways.json"


@dataclass
class Seen:
    """One request as a service got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Server:
    """A server in threads: `answer` gets what was seen, and returns status, headers and body; None: no answer."""

    answer: Callable[[Seen], tuple[int, dict[str, Any], bytes] | None]
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Longer than the gateway's own: or its requests would meet the end of a connection.
        timeout = 75

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen = Seen(self.command, self.path, self.headers.items(), body)
            server.seen.append(seen)
            answer = server.answer(seen)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                for one in value if isinstance(value, list) else [value]:
                    self.send_header(name, one)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that end with the module."""
    started: list[_Listening] = []

    def start(answer: Callable[[Seen], Any], tls: Any = None) -> Server:
        server = Server(answer)
        bound = _Listening(("127.0.0.1", 0), _handler(server))
        if tls is not None:
            bound.socket = tls.wrap_socket(bound.socket, server_side=True)
        server.port = bound.server_address[1]
        threading.Thread(target=bound.serve_forever, args=[0.05], daemon=True).start()
        started.append(bound)
        return server

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


def echo(seen: Seen) -> tuple[int, dict[str, str], bytes]:
    """What a service answers here: 200, and whom it saw."""
    return 200, {"Content-Type": "application/json"}, json.dumps({"target": seen.target}).encode()


@pytest.fixture(scope="module")
def keys(serve: Any, parties: Any) -> Server:
    """The issuer's key server; `seen` are its fetches."""
    body = json.dumps({"keys": parties.key_set()}).encode()
    return serve(lambda _: (200, {"Content-Type": "application/json"}, body))


@pytest.fixture(scope="module")
def database_of_module(postgres: Postgres, template: str) -> Iterator[str]:
    """The DSN of a migrated database that a module's tests share."""
    name = f"paidonce_gateway_{free_port()}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "here" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("here", only.args if only else GATEWAYS, indirect=True, scope="session")


@pytest.fixture(scope="module")
def api(run: Run, keys: Server, database_of_module: str) -> Iterator[Server]:
    """The real API, behind nothing yet."""
    with started_api(run, keys, database_of_module) as started:
        yield started


@contextmanager
def started_api(run: Run, keys: Server, dsn: str, **settings: Any) -> Iterator[Server]:
    """Run the real API on a database, with these settings by field name."""
    port = free_port()
    own = {
        "dsn": dsn,
        "issuer": ISS,
        "jwks_url": f"{keys.url}/jwks",
        "jwks_cooldown_s": 0.01,
        "api_port": port,
        "api_gateway_head_bytes": ADDED_BYTES,
    }
    env = run.environment(environment(own | settings))
    process = run.start(Command(f"api-{port}", [sys.executable, "-m", "paidonce.cli", "api"], run.folder, env))

    def answers() -> bool:
        process.check()
        return listening(port)

    until(answers, within_s=60, what="the API")
    yield Server(echo, port=port)
    process.stop()


@dataclass
class Gateway:
    """A running gateway."""

    port: int
    folder: Path
    process: Process
    metrics_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, request: bytes) -> bytes:
        """Return the whole answer to these very bytes, which end the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as wire:
            wire.sendall(request)
            answer = b""
            while part := wire.recv(65_536):
                answer += part
        return answer

    def figure(self, line: str) -> float:
        """Return the figure of /metrics that begins so; 0 where there is none."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False).text
        found = [one.rsplit(" ", 1)[1] for one in text.splitlines() if one.startswith(line)]
        return float(found[0]) if found else 0.0

    def logged(self, words: str) -> str:
        """Return what was logged, once these words are in it: Envoy writes its log from time to time."""
        until(lambda: words in self._log(), within_s=WAIT_S, what=f"{words!r} in the log")
        return self._log()

    def _log(self) -> str:
        return "".join(log.read_text() for log in (*(self.folder / "logs").iterdir(), self.process.log))


def start_in(kind: str, run: Run, folder: Path, document: dict, **overrides: Any) -> Gateway:
    """Render the route file and start a gateway on it; `overrides` are settings of the API."""
    port, metrics_port = free_port(), free_port()
    own = {"listen": f"127.0.0.1:{port}", "metrics": f"127.0.0.1:{metrics_port}"}
    document = document | {"gateway": own | document.get("gateway", {})}
    KINDS[kind.lower()](plan(RouteFile.model_validate(document), Settings(**overrides)), folder)
    process = STARTS[kind](run, folder, port=port, name=f"{kind.lower()}-{port}")
    return Gateway(port, folder, process, metrics_port)


def start(kind: str, run: Run, document: dict, **overrides: Any) -> Gateway:
    """Start a gateway in a fresh folder."""
    return start_in(kind, run, new_folder(run), document, **overrides)


def new_folder(run: Run) -> Path:
    """A folder that a gateway's workers can reach, whoever we are."""
    found = run.folder / f"gateway-{free_port()}"
    found.mkdir(mode=0o711)
    return found


def issuer_at(keys: Server, **more: Any) -> dict:
    return {"issuer": ISS, "jwks_url": f"{keys.url}/jwks", "audiences": ["unused"]} | more


def paidonce(service: Server, **more: Any) -> dict:
    """The service with the API's own policy, in front of `service`."""
    return {
        "name": "paidonce",
        "prefix": "/",
        "policy": "paidonce",
        "upstreams": [service.url],
        "audiences": ["paidonce"],
        "claim_headers": {"X-User-Id": "sub", "X-Scopes": "scope", "X-Tenant": "tenant"},
    } | more


@pytest.fixture(scope="session")
def caller() -> Iterator[httpx.Client]:
    """A client of many connections, for threads too; it trusts no certificate, since none is asked for."""
    limits = httpx.Limits(max_connections=200)
    with httpx.Client(trust_env=False, timeout=2 * WAIT_S, limits=limits, verify=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def here(request: pytest.FixtureRequest) -> SimpleNamespace:
    """This module, for tests, which are no package and cannot import it; its gateways are of one kind."""
    kind = request.param
    bound = {"kind": kind, "start": partial(start, kind), "start_in": partial(start_in, kind)}
    return SimpleNamespace(**vars(sys.modules[__name__]) | bound)


@pytest.fixture(scope="session")
def findings(attack_table: Any) -> Iterator[dict[str, dict[str, str]]]:
    """Gateway -> row of the attack table -> who refused it; kept for docs/gateways.py when no row is missing."""
    found: dict[str, dict[str, str]] = {name: {} for name in GATEWAYS}
    FINDINGS.unlink(missing_ok=True)
    yield found
    rows = [row for row in attack_table if row.carried]
    if all(row.name in found[name] for row in rows for name in GATEWAYS):
        FINDINGS.parent.mkdir(exist_ok=True)
        told = [
            {"attack": row.name, "answer": str(row.status)} | {name: found[name][row.name] for name in GATEWAYS}
            for row in rows
        ]
        FINDINGS.write_text(json.dumps(told, indent=1))


def bearing(token: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.decode()}"}


def _names(name: str) -> list[x509.GeneralName]:
    """NGINX's Lua looks for an address among the names, Envoy among the addresses."""
    found: list[x509.GeneralName] = [x509.DNSName(name)]
    return [*found, x509.IPAddress(ipaddress.ip_address(name))] if name[0].isdigit() else found


def certified(folder: Path, name: str, signed_by: tuple[Path, Path] | None = None) -> tuple[ssl.SSLContext, Path, Path]:
    """Return a server's TLS context with a certificate of its own, and the files of certificate and key.

    `signed_by` are an authority's certificate and key; by default it is its own authority.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing = subject, key
    if signed_by is not None:
        authority, its_key = signed_by
        signer = x509.load_pem_x509_certificate(authority.read_bytes()).subject
        signing = serialization.load_pem_private_key(its_key.read_bytes(), None)
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(_names(name)), critical=False)
        .add_extension(x509.BasicConstraints(ca=signed_by is None, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context, pem, private
