"""How do the embedded PostgreSQL and Valkey speak TLS? Their wheels are built without it, so something in front does.

Whoever connects is asked for nothing but to speak TLS; what is inside goes to the server as it is. PostgreSQL's
clients first ask for it in eight bytes of the protocol (SSLRequest), and libpq alone decides what it takes: a client
that does not ask is turned away in the words of a server whose pg_hba.conf has only `hostssl` lines.
"""

import asyncio
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: The code in place of a protocol version by which a client asks for TLS.
SSL_REQUEST = struct.pack("!II", 8, 80877103)
REFUSED = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for host, no encryption\0\0"


class Front:
    """Listens on a port of its own, in front of `host:port`."""

    def __init__(self, target: tuple[str, int], tls: ssl.SSLContext, *, postgres: bool) -> None:
        self._target, self._tls, self._postgres = target, tls, postgres
        self.port = 0
        #: connections that came through, encrypted
        self.encrypted = 0

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        tls = None if self._postgres else self._tls
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if self._postgres:
                if await reader.readexactly(8) != SSL_REQUEST:
                    writer.write(b"E" + struct.pack("!I", len(REFUSED) + 4) + REFUSED)
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(self._tls)
            self.encrypted += 1
            to_reader, to_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(_pass_on(reader, to_writer), _pass_on(to_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@contextmanager
def front(target: tuple[str, int], tls: ssl.SSLContext, *, postgres: bool) -> Iterator[Front]:
    """A front while the block lasts, on a thread of its own."""
    made, started = Front(target, tls, postgres=postgres), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(made.serve(started, stop)), daemon=True)
    thread.start()
    started.wait()
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join()
