"""How does a server reset a connection instead of answering? ASGI knows no such thing, so the protocol helps."""

import socket
import struct
from asyncio import BaseTransport, Transport
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: (host, port) of the client -> its connection
_connections: dict[tuple[str, int], Transport] = {}
#: linger on, for 0 seconds: closing sends RST and throws away what was not sent
_NO_LINGER = struct.pack("ii", 1, 0)


class ResettableProtocol(H11Protocol):
    """HTTP/1.1 that remembers each client's connection."""

    def connection_made(self, transport: Any) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        _connections[_client(transport)] = transport
        self._address = _client(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _connections.pop(self._address, None)
        super().connection_lost(exc)


def reset(client: tuple[str, int]) -> None:
    """Reset the connection of `client`: it sees ECONNRESET, and nothing of an answer."""
    transport = _connections.get(client)
    if transport is None:
        return
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _client(transport: BaseTransport) -> tuple[str, int]:
    host, port = transport.get_extra_info("peername")[:2]
    return host, port
