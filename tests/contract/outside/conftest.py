"""The other sides: the provider simulator as a process of its own, and a server that does exactly as it is told."""

import asyncio
import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()

#: What the raw server does instead of answering.
CLOSE = b"close"


def answer(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@dataclass
class RawServer:
    """Counts connections and requests; `script` gets the number of the request (from 1) and says what to send."""

    script: Callable[[int], bytes]
    #: close each connection after its first answer, without saying so in the answer
    hang_up_after_answer: bool = False
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task] = field(default_factory=set)
    #: answers wait for it
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                self.requests.append(await _request(reader))
                said = self.script(len(self.requests))
                await self.gate.wait()
                if said == CLOSE:
                    return
                writer.write(said)
                await writer.drain()
                if self.hang_up_after_answer:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self.hung_up.set()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[..., asyncio.Future]]:
    """Start a RawServer: `await raw_server(script, **fields)`."""
    started: list[tuple[asyncio.Server, RawServer]] = []

    async def start(script: Callable[[int], bytes], *, gated: bool = False, tls=None, **fields) -> RawServer:
        server = RawServer(script, **fields)
        if not gated:
            server.gate.set()
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
        server.port = listening.sockets[0].getsockname()[1]
        started.append((listening, server))
        return server

    yield start
    for listening, server in started:
        server.gate.set()
        listening.close()
        for serving in server.tasks:
            serving.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


class Simulator:
    """The provider simulator; `start` again after `kill` finds its journal."""

    def __init__(self, folder: Path, **options) -> None:
        self.journal = folder / "provider.sqlite"
        self._options = {"port": 0, "journal": self.journal, **options}
        self._process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PAIDONCE_")}
        env |= {f"PAIDONCE_SIMULATOR_{name.upper()}": str(value) for name, value in self._options.items()}
        command = [sys.executable, "-m", "paidonce.devstack.provider"]
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read().decode()
        self._options["port"] = json.loads(line)["port"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._options['port']}"

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        self._process.communicate(timeout=10)
        return self._process.returncode

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def rows(self, sql: str, *values) -> list[tuple]:
        with sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True) as journal:
            return journal.execute(sql, values).fetchall()


@pytest.fixture(scope="module")
def start_simulator(tmp_path_factory) -> Iterator[Callable[..., Simulator]]:
    """Start a simulator with these options."""
    started: list[Simulator] = []

    def start(**options) -> Simulator:
        started.append(Simulator(tmp_path_factory.mktemp("provider"), **options))
        return started[-1]

    yield start
    for simulator in started:
        if simulator.running:
            simulator.kill()
