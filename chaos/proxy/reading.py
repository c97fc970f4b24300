"""How does a parser look into a stream that must go on unharmed? It says what it needs; all else goes on at once.

A parser is a generator. What it yields is a wish: bytes to look at (held back until they are all
there), bytes to let go on, or an event that lies between them. It never makes or changes a byte, so
whatever a parser does, what comes in goes out, in order. One that meets what it cannot read raises
UnreadableError: from there on the connection is *blind*, and everything goes on.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, get_args

Side = Literal["request", "answer"]
SIDES: tuple[Side, ...] = get_args(Side)

#: Bytes that a parser may hold back at once: a statement's text, a request's first line.
HELD_BYTES_MOST = 65_536


class UnreadableError(Exception):
    """The bytes are not those of the protocol, or are encrypted: the message says which."""


@dataclass(frozen=True, slots=True)
class Need:
    """Look at the next `count` bytes; they are held back until all are there."""

    count: int


@dataclass(frozen=True, slots=True)
class Line:
    """Look at the bytes up to and with the next CR LF, searched `after` so many of them."""

    after: int = 0
    bytes_most: int = HELD_BYTES_MOST


@dataclass(frozen=True, slots=True)
class Pass:
    """Let the next `count` bytes go on, whether they are there yet or not."""

    count: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the two said, right before the bytes that say it go on."""

    name: str
    side: Side
    #: what it is about: a statement's text, a client's id, a key, a path
    subject: str = ""


Parser = Generator[Need | Line | Pass | Event, bytes, None]


class Reading:
    """One direction of one connection."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._held = b""
        #: why nothing is seen any more, empty where nothing is to be seen; None while something is
        self.blind: str | None = None
        self._wish: Need | Line | Pass | Event = next(parser, Pass(0))

    def feed(self, data: bytes) -> list[bytes | Event]:
        """Take what came; return what goes on, with the events between."""
        held = self._held + data if self._held else data
        found: list[bytes | Event] = []
        begun = at = 0
        while self.blind is None:
            wish = self._wish
            if isinstance(wish, Event):
                if at > begun:
                    found.append(held[begun:at])
                    begun = at
                found.append(wish)
                self._advance(b"")
            elif isinstance(wish, Pass) and wish.count > len(held) - at:
                self._wish, at = Pass(wish.count - len(held) + at), len(held)
                break
            elif isinstance(wish, Pass):
                at += wish.count
                self._advance(b"")
            else:
                seen = self._look(wish, held, at)
                if seen is None:
                    break
                self._advance(seen)
        if self.blind is not None:
            at = len(held)
        if at > begun:
            found.append(held[begun:at])
        self._held = held[at:]
        return found

    def rest(self) -> bytes:
        """Return what is still held back, at the end of the stream."""
        held, self._held = self._held, b""
        return held

    def _look(self, wish: Need | Line, held: bytes, at: int) -> bytes | None:
        """Return the bytes that are wished for, None while they are not there."""
        if isinstance(wish, Need):
            return held[at : at + wish.count] if len(held) - at >= wish.count else None
        end = held.find(b"\r\n", at + wish.after)
        if end < 0 and len(held) - at - wish.after > wish.bytes_most:
            self.blind = f"a line of more than {wish.bytes_most} bytes"
        return held[at : end + 2] if end >= 0 else None

    def _advance(self, seen: bytes) -> None:
        try:
            self._wish = self._parser.send(seen)
        except UnreadableError as error:
            self.blind = str(error)
        except StopIteration:
            self.blind = ""
        except Exception as error:  # noqa: BLE001  a parser's mistake must not harm what it reads
            self.blind = f"the parser failed: {error!r}"
        else:
            if isinstance(self._wish, Need | Pass) and self._wish.count < 0:
                self.blind = "a length below zero"
