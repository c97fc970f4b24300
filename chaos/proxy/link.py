"""How does one link behave? It takes clients on its port, leads them to its server, and disturbs what it must."""

import asyncio
from asyncio import Server, StreamReader, StreamWriter, Task
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from time import time

from paidonce.chaos.proxy.connection import Connection, reset
from paidonce.chaos.proxy.faults import Fault, Firing
from paidonce.chaos.proxy.flow import CHUNK_BYTES
from paidonce.chaos.proxy.protocols import ANY, CONNECT, PROTOCOLS, check_event
from paidonce.chaos.proxy.reading import Event

LOOPBACK = "127.0.0.1"
#: Connections that wait to be taken: a whole stack that comes back at once.
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Route:
    """A link as it is configured: clients come to `port` on loopback, the server is at `to`, `host:port`."""

    name: str
    protocol: str
    port: int
    to: str


@dataclass(slots=True)
class Armed:
    """A fault that was armed, and what became of it."""

    number: int
    fault: Fault
    #: events that fitted, since then
    seen: int = 0
    firings: list[Firing] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def on(self) -> bool:
        """Whether it has begun: the link suffers it, where the scope is the link."""
        return bool(self.firings)

    def note(self, firing: Firing) -> None:
        """Note that it struck."""
        self.firings.append(firing)
        self._more.set()

    async def fired(self, often: int) -> None:
        """Wait until it struck so often."""
        while len(self.firings) < often:
            self._more.clear()
            await self._more.wait()


class Link:
    """One link."""

    def __init__(self, route: Route) -> None:
        """Raises ValueError for a protocol that nobody knows."""
        if route.protocol not in PROTOCOLS:
            raise ValueError(f"there is no protocol {route.protocol!r}: it is one of {', '.join(PROTOCOLS)}")
        self.route = route
        self._spoken = PROTOCOLS[route.protocol]
        self._server: Server | None = None
        self._tasks: set[Task[None]] = set()
        self._numbers = count(1)
        self._open: dict[int, Connection] = {}
        self._armed: dict[int, Armed] = {}
        #: connections that were taken and are led nowhere
        self._hanging: set[StreamWriter] = set()
        #: how often each event happened, and why connections went blind
        self.events: dict[str, int] = {}
        self.blind: list[str] = []

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    async def listen(self) -> None:
        """Take connections, unless some are refused."""
        if self._server is None and not self._meets("refused"):
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.route.port, backlog=BACKLOG)

    def check(self, fault: Fault) -> None:
        """Raise ValueError for an event that never happens here."""
        if fault.on:
            check_event(self.route.protocol, fault.on.event, fault.on.at)

    def arm(self, armed: Armed) -> None:
        """Let the fault begin at its event, or at once; raises as `check` does."""
        self.check(armed.fault)
        self._armed[armed.number] = armed
        if armed.fault.on is None:
            self._fire(armed, None, None)

    async def heal(self, number: int) -> None:
        """End a fault, or see that it never begins."""
        armed = self._armed.pop(number, None)
        if armed is None:
            return
        for firing in armed.firings:
            firing.healed_at = firing.healed_at or time()
        for connection in self._open.values():
            connection.heal(number, armed.fault)
        if not self._meets("hanging"):
            for writer in self._hanging:
                reset(writer)
        await self.listen()

    def _meets(self, new: str) -> bool:
        return any(armed.on and armed.fault.for_new == new for armed in self._armed.values())

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._take(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, reader: StreamReader, writer: StreamWriter) -> None:
        number = next(self._numbers)
        if self._meets("hanging"):
            await self._hang(reader, writer)
            return
        host, _, port = self.route.to.rpartition(":")
        try:
            server = await asyncio.open_connection(host, int(port))
        except OSError:
            # A server that is not there refuses; this late, a reset is the nearest to it.
            reset(writer)
            return
        connection = Connection(number, (reader, writer), server, self._spoken.finder(), self._happened)
        self._open[number] = connection
        try:
            self._join(connection)
            await connection.run()
        finally:
            del self._open[number]
            if connection.blind:
                self.blind.append(f"connection {number}: {connection.blind}")

    async def _hang(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._met("hanging")
        self._hanging.add(writer)
        with suppress(ConnectionError):
            while await reader.read(CHUNK_BYTES):
                pass
        self._hanging.discard(writer)
        writer.close()

    def _join(self, connection: Connection) -> None:
        """A new connection: it meets what the whole link suffers, and is an event."""
        for armed in [*self._armed.values()]:
            if armed.on and armed.fault.scope == "link" and armed.fault.for_new == "same":
                connection.strike(armed.number, armed.fault)
        self._met("same")
        self._happened(connection, Event(CONNECT, "request"))

    def _met(self, new: str) -> None:
        for armed in self._armed.values():
            if armed.on and armed.fault.scope == "link" and armed.fault.for_new == new:
                armed.firings[-1].met += 1

    def _happened(self, connection: Connection, event: Event) -> None:
        key = f"{event.name} {event.side}"
        self.events[key] = self.events.get(key, 0) + 1
        for armed in [*self._armed.values()]:
            if self._is_due(armed, event):
                self._fire(armed, connection, event)

    def _is_due(self, armed: Armed, event: Event) -> bool:
        on, times = armed.fault.on, armed.fault.times
        if on is None or on.at != event.side or on.event not in {event.name, ANY}:
            return False
        if on.match and not self._spoken.fits(event.subject, on.match):
            return False
        armed.seen += 1
        return armed.seen >= on.nth and (not times or armed.seen < on.nth + times)

    def _fire(self, armed: Armed, connection: Connection | None, event: Event | None) -> None:
        fault, everywhere = armed.fault, connection is None or armed.fault.scope == "link"
        struck = [*self._open.values()] if connection is None or everywhere else [connection]
        counted = [connection] if connection else struck
        armed.note(
            Firing(
                fault=armed.number,
                link=self.route.name,
                kind=fault.kind,
                at=time(),
                event=f"{event.name} {event.side}" if event else "",
                subject=event.subject if event else "",
                connections=[one.number for one in struck],
                to_server_bytes=sum(one.to_server.carried for one in counted),
                to_client_bytes=sum(one.to_client.carried for one in counted),
            )
        )
        for one in struck:
            one.strike(armed.number, fault)
        if self._server and self._meets("refused"):
            self._server.close()
            self._server = None
