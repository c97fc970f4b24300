"""What becomes of one connection? Two flows between a client and the server, until both are over or it is cut."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable

from paidonce.chaos.proxy.faults import Fault
from paidonce.chaos.proxy.flow import CHUNK_BYTES, Flow
from paidonce.chaos.proxy.protocols import Finder
from paidonce.chaos.proxy.reading import Event, Reading

Side = tuple[StreamReader, StreamWriter]


class Connection:
    """One client's connection through a link; `happened` is told each event right before its bytes go on."""

    def __init__(
        self, number: int, client: Side, server: Side, finder: Finder, happened: "Callable[[Connection, Event], None]"
    ) -> None:
        self.number = number
        self._client, self._server, self._happened = client[1], server[1], happened
        self.to_server = Flow(client[0], server[1], Reading(finder.requests()))
        self.to_client = Flow(server[0], client[1], Reading(finder.answers()))

    @property
    def blind(self) -> str | None:
        """Why no events are seen on it any more; None while they are."""
        return self.to_server.reading.blind or self.to_client.reading.blind or None

    async def run(self) -> None:
        """Carry bytes both ways until the end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(self.to_server, self.to_client, tasks))
                tasks.create_task(self._pump(self.to_client, self.to_server, tasks))
        finally:
            for writer in (self._client, self._server):
                writer.close()

    def strike(self, number: int, fault: Fault) -> None:
        """Let the fault, armed under the number, begin."""
        if fault.kind == "reset":
            self.reset()
            return
        for flow in self._flows(fault):
            flow.put(number, fault)
        if fault.kind == "half_open":
            reset(self._server if fault.gone == "server" else self._client)

    def heal(self, number: int, fault: Fault) -> None:
        """End the fault; a stream that lost bytes cannot go on, so it is reset."""
        if fault.kind == "half_open" or any(flow.lost for flow in self._flows(fault)):
            self.reset()
        for flow in self._flows(fault):
            flow.take_away(number)

    def reset(self) -> None:
        """End both sides as a killed peer does."""
        for flow in (self.to_server, self.to_client):
            flow.close()
        for writer in (self._client, self._server):
            reset(writer)

    def _flows(self, fault: Fault) -> list[Flow]:
        ways = {"to_server": [self.to_server], "to_client": [self.to_client]}
        return ways.get(fault.direction, [self.to_server, self.to_client])

    async def _pump(self, flow: Flow, other: Flow, tasks: asyncio.TaskGroup) -> None:
        try:
            while data := await flow.source.read(CHUNK_BYTES):
                await self._carry(flow, data)
                if flow.closed:
                    return
                if flow.reading.blind is not None and other.reading.blind is None:
                    other.reading.blind = ""
                    tasks.create_task(self._carry(other, b""))
            await self._carry(flow, b"", over=True)
            if await flow.may_end() and flow.target.can_write_eof():
                flow.target.write_eof()
        except OSError:
            # A side that was reset, or that is written to or shut after its end: the other learns it the same way.
            if await flow.may_end():
                self.reset()

    async def _carry(self, flow: Flow, data: bytes, *, over: bool = False) -> None:
        async with flow.turn:
            for one in [*flow.reading.feed(data), *([flow.reading.rest()] if over else [])]:
                if isinstance(one, Event):
                    self._happened(self, one)
                elif await flow.carry(one):
                    self.reset()
                if flow.closed:
                    return


def reset(writer: StreamWriter) -> None:
    """Close a connection with a TCP reset, whatever still waits to be sent."""
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        # l_onoff 1, l_linger 0: "close" means RST.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
