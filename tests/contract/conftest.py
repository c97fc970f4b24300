"""An issuer's side of the contract: real RSA keys, tokens forged at will, and a key-set server on loopback."""

import asyncio
import importlib.util
import json
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.util import int_to_base64

from paidonce.app.settings import Settings

ISS = "https://issuer.example"


def _beside(name: str) -> ModuleType:
    """Return the module `name` of this folder, which no import finds: the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


attack_tokens = _beside("attack_tokens")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with the argument `attack` once for each row of the table."""
    if "attack" in metafunc.fixturenames:
        metafunc.parametrize("attack", attack_tokens.TABLE, ids=lambda row: row.name)


def b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def as_json(value) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class Forger:
    """Signs whatever it is given: header and payload are dicts, or the very bytes."""

    b64 = staticmethod(b64)

    def __init__(self, private: rsa.RSAPrivateKey, kid: str):
        self.private = private
        self.kid = kid
        self.header = {"alg": "RS256", "typ": "at+jwt", "kid": kid}

    def claims(self, **changes) -> dict:
        now = int(time.time())
        claims = {
            "iss": ISS,
            "aud": "paidonce",
            "sub": "joe",
            "tenant": "acme",
            "scope": "payments:read payments:write",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        } | changes
        return {name: value for name, value in claims.items() if value is not ...}

    def signed(self, signing_input: bytes) -> bytes:
        signature = self.private.sign(signing_input, padding.PKCS1v15(), hashes.SHA256())
        return signing_input + b"." + b64(signature)

    def token(self, header=None, payload=None) -> bytes:
        header = self.header if header is None else header
        payload = self.claims() if payload is None else payload
        return self.signed(b64(as_json(header)) + b"." + b64(as_json(payload)))

    def with_header(self, **changes) -> bytes:
        header = {name: value for name, value in (self.header | changes).items() if value is not ...}
        return self.token(header=header)

    def with_claims(self, **changes) -> bytes:
        return self.token(payload=self.claims(**changes))

    def pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, form)

    def jwk(self, **changes) -> dict:
        numbers = self.private.public_key().public_numbers()
        return {"kty": "RSA", "n": int_to_base64(numbers.n), "e": int_to_base64(numbers.e)} | {
            "kid": self.kid,
            "use": "sig",
            "alg": "RS256",
            **changes,
        }


def forger(kid: str, bits: int = 2048) -> Forger:
    return Forger(rsa.generate_private_key(public_exponent=65537, key_size=bits), kid)


@pytest.fixture(scope="session")
def issuer() -> Forger:
    return forger("key-1")


@pytest.fixture(scope="session")
def stranger() -> Forger:
    """Has a key of its own, and writes the issuer's key id into its tokens."""
    return forger("key-1")


@pytest.fixture(scope="session")
def weak() -> Forger:
    return forger("key-weak", bits=1024)


@pytest.fixture(scope="session")
def parties(issuer: Forger, stranger: Forger, weak: Forger):
    """Who writes the tokens of the attack table, and the key set that must be published for it."""
    return attack_tokens.Parties(issuer, stranger, weak)


@pytest.fixture(scope="session")
def attack_table():
    """Every row of the attack table (attack_tokens.py); the argument `attack` gives one at a time."""
    return attack_tokens.TABLE


def _whole(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
    return head.encode() + body


@dataclass
class KeyServer:
    """A key-set server: `answer` is the whole HTTP answer; it waits for `gate` before it gives it."""

    url: str = ""
    answer: bytes = b""
    asked: int = 0
    #: path -> body, for paths with an answer of their own; not counted in `asked`
    pages: dict[str, bytes] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, *jwks: dict) -> None:
        self.send(as_json({"keys": list(jwks)}))

    def send(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        self.answer = _whole(body, status, headers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            if path in self.pages:
                writer.write(_whole(self.pages[path]))
            else:
                self.asked += 1
                await self.gate.wait()
                writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def key_server(issuer: Forger) -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.gate.set()
    server.publish(issuer.jwk())
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/jwks"
    yield server
    server.gate.set()
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def auth_settings(key_server: KeyServer) -> Settings:
    return Settings(issuer=ISS, jwks_url=key_server.url, jwks_cache_s=1000, jwks_cooldown_s=0.02)


class SetClock:
    """Both clocks of a process, set by the test."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return datetime.fromtimestamp(time.time() + self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def set_clock() -> SetClock:
    return SetClock()
