"""How many requests a second does a server answer, and how fast? A generator of load in a process of its own.

A closed loop over a fixed number of connections: each sends its next request when the last is
answered, or, at a given rate, when the next one is due. It speaks just the HTTP that the measured
servers answer with, so that it costs a fraction of what they cost; which fraction, it says.

Reads a Job as JSON on standard input and writes a Result as JSON on standard output.
"""

import asyncio
import json
import re
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

#: Microseconds are kept as unsigned integers: 70 minutes are enough for one request.
_LATENCY_TYPE = "I"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
#: Ends an answer without a Content-Length; JSON has no line breaks of this kind in it.
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, where, for how long."""

    host: str
    port: int
    token: str
    #: JSON
    body: str
    connections: int
    #: seconds
    seconds: float
    #: begins every Idempotency-Key, and a number follows
    key_prefix: str
    #: 0: a fresh key each; else the number after which the keys begin again
    keys: int
    #: must stand in every answer's head, in lower case; empty: nothing must
    expected: str
    #: requests a second in all, each at its time if a connection is free; 0: each as soon as one is
    rate: float = 0.0
    #: method and target, and the status of a good answer
    request: str = "POST /v1/payments"
    status: int = 201
    #: in place of `token`, one after the other
    tokens: list[str] = field(default_factory=list)
    #: requests after which it ends, before the time is over; 0: the time alone says when
    most: int = 0


@dataclass(slots=True)
class Result:
    """What was answered."""

    #: seconds from the first request to the last answer
    seconds: float = 0.0
    #: answers that were as they should be
    good: int = 0
    #: what was wrong -> how often
    wrong: dict[str, int] = field(default_factory=dict)
    #: microseconds of each good answer
    latencies_us: list[int] = field(default_factory=list)
    #: share of one core that the generator itself used
    cpu_share: float = 0.0


class Load:
    """The state that the connections share."""

    def __init__(self, job: Job) -> None:
        head = (
            f"{job.request} HTTP/1.1\r\nHost: {job.host}:{job.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(job.body.encode())}\r\nAuthorization: Bearer "
        )
        key = f"\r\nIdempotency-Key: {job.key_prefix}-"
        self._befores = [(head + token + key).encode() for token in job.tokens or [job.token]]
        self._after, self._status = b"\r\n\r\n" + job.body.encode(), str(job.status).encode()
        self._keys, self._rate, self._most = job.keys, job.rate, job.most
        self._sent = 0
        self.expected = job.expected.encode()
        self._due = 0
        self.began, self.end = 0.0, float("inf")
        self.latencies = array(_LATENCY_TYPE)
        self.wrong: Counter[str] = Counter()

    def request(self) -> bytes:
        """Return the next request's bytes."""
        number = self._sent % self._keys if self._keys else self._sent
        before = self._befores[self._sent % len(self._befores)]
        self._sent += 1
        return b"%b%d%b" % (before, number, self._after)

    def is_over(self, now: float) -> bool:
        """Tell whether no more is to be sent at `now` (`perf_counter` seconds)."""
        return now >= self.end or 0 < self._most <= self._sent

    def due(self) -> float:
        """Return when the next request is due (`perf_counter` seconds), and count it as taken."""
        self._due += 1
        return self.began + (self._due - 1) / self._rate if self._rate else 0.0

    def judge(self, head: bytes, seconds: float) -> None:
        """Count one answer."""
        if head[9:12] != self._status:
            self.wrong[head[9:12].decode("latin-1")] += 1
        elif self.expected and self.expected not in head.lower():
            self.wrong[f"without {self.expected.decode()}"] += 1
        else:
            self.latencies.append(int(seconds * 1e6))


class Connection(asyncio.Protocol):
    """One connection: send, wait for the answer, send."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._began = 0.0
        self._closing = False
        self._transport: asyncio.WriteTransport | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the first request waits until every connection is there."""
        # uvloop's transport has the methods, not the base class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self) -> None:
        """Send the next request when it is due, or end when the time is over."""
        ahead = self._load.due() - time.perf_counter()
        if ahead > 0:
            asyncio.get_running_loop().call_later(ahead, self._send)
        else:
            self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        if self._load.is_over(self._began):
            self._closing = True
            self._transport.close()
            return
        self._transport.write(self._load.request())

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer; when it is whole, send the next request."""
        self._received = self._received + data if self._received else data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[: end + 2]
        length = _LENGTH.search(head)
        if length is None:
            if not self._received.endswith(_LAST_CHUNK):
                return
        elif len(self._received) < end + 4 + int(length[1]):
            return
        self._load.judge(head, time.perf_counter() - self._began)
        self._received = b""
        self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        """A connection that the server ends early is a wrong answer."""
        if not self._closing and time.perf_counter() < self._load.end:
            self._load.wrong["connection lost"] += 1
        if not self.over.done():
            self.over.set_result(None)


async def run(job: Job) -> Result:
    """Send the job's load and return what was answered."""
    load = Load(job)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(load), job.host, job.port))[1] for _ in range(job.connections)
    ]
    began, cpu_began = time.perf_counter(), time.process_time()
    load.began, load.end = began, began + job.seconds
    for connection in connections:
        connection.send()
    await asyncio.gather(*(connection.over for connection in connections))
    seconds = time.perf_counter() - began
    cpu_share = (time.process_time() - cpu_began) / seconds
    return Result(seconds, len(load.latencies), dict(load.wrong), list(load.latencies), round(cpu_share, 3))


def main() -> None:
    """Run the job on standard input."""
    job = Job(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(run(job))), sys.stdout)


if __name__ == "__main__":
    main()
