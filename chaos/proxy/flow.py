"""How do bytes get from one side of a connection to the other, under the faults of the moment?"""

import asyncio
from asyncio import StreamReader, StreamWriter

from paidonce.chaos.proxy.faults import Fault, Kind
from paidonce.chaos.proxy.reading import Reading

#: Bytes of one read: the window of a connection, as far as `delay` is concerned.
CHUNK_BYTES = 65_536
#: Moments of a second at which a slowed flow gives out its bytes.
MOMENTS_PER_S = 20


class Flow:
    """One direction of a connection: where its bytes come from, where they go, and what is in their way."""

    def __init__(self, source: StreamReader, target: StreamWriter, reading: Reading) -> None:
        self.source, self.target, self.reading = source, target, reading
        #: by the number of its arming
        self._faults: dict[int, Fault] = {}
        #: bytes until a cut
        self._left: dict[int, int] = {}
        self._changed = asyncio.Event()
        #: for whoever carries bytes: they keep their order
        self.turn = asyncio.Lock()
        self.closed = False
        #: bytes that went on, and that vanished
        self.carried = self.lost = 0

    def put(self, number: int, fault: Fault) -> None:
        """Put a fault in the way."""
        self._faults[number] = fault
        if fault.kind == "cut_after":
            self._left[number] = fault.after_bytes
        self._changed.set()

    def take_away(self, number: int) -> None:
        """Take a fault out of the way, where it is."""
        self._faults.pop(number, None)
        self._left.pop(number, None)
        self._changed.set()

    def close(self) -> None:
        """Carry nothing more."""
        self.closed = True
        self._changed.set()

    async def carry(self, data: bytes) -> bool:
        """Carry the bytes on as the faults allow; tell whether they were the last before a cut."""
        delayed = False
        while data and await self._is_free():
            if self._has("swallow", "half_open"):
                self.lost += len(data)
                return False
            if self._has("delay") and not delayed:
                delayed = True
                await self._change(within_s=max(fault.delay_s for fault in self._faults.values()))
                continue
            size = min([len(data), *self._left.values()])
            if self._has("rate"):
                slowest = min(fault.bytes_per_s for fault in self._faults.values() if fault.kind == "rate")
                size = min(size, max(1, slowest // MOMENTS_PER_S))
                if await self._change(within_s=size / slowest):
                    continue
            await self._write(data[:size])
            data = data[size:]
            if 0 in self._left.values():
                return True
        return False

    async def may_end(self) -> bool:
        """Wait until the other side may be told that the stream is over; False: it never is told."""
        while await self._is_free():
            if not self._has("swallow", "half_open"):
                return True
            await self._change()
        return False

    async def _is_free(self) -> bool:
        """Wait while the flow stands still; False: nothing goes on any more."""
        while self._has("stall") and not self.closed:
            await self._change()
        return not self.closed

    async def _write(self, data: bytes) -> None:
        self._left = {number: left - len(data) for number, left in self._left.items()}
        self.carried += len(data)
        self.target.write(data)
        await self.target.drain()

    def _has(self, *kinds: Kind) -> bool:
        return any(fault.kind in kinds for fault in self._faults.values())

    async def _change(self, *, within_s: float | None = None) -> bool:
        """Wait until faults came or went; tell whether they did in time."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), within_s)
        except TimeoutError:
            return False
        return True
