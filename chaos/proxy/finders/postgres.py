"""Where does PostgreSQL answer a COMMIT? At its tag, or at ReadyForQuery for statements that commit by themselves.

| event | side | lies before | subject |
|---|---|---|---|
| statement | request | a Query or an Execute | its text |
| commit | request | a Query or an Execute of COMMIT or END | its text |
| commit | answer | CommandComplete "COMMIT": the server has written it | all texts since BEGIN |
| autocommit | answer | ReadyForQuery after statements outside a block: written then | their texts |

A statement of the extended protocol outside a block commits at its Sync, *after* its own CommandComplete: only
ReadyForQuery says that it did. In a pipeline all statements up to one Sync commit together, and are one event.
(PostgreSQL documentation, "Frontend/Backend Protocol", "Message Flow" and "Message Formats".)
"""

import re
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from paidonce.chaos.proxy.reading import HELD_BYTES_MOST, Event, Need, Parser, Pass, Side, UnreadableError

EVENTS: frozenset[tuple[str, Side]] = frozenset(
    {("statement", "request"), ("commit", "request"), ("commit", "answer"), ("autocommit", "answer")}
)

#: Codes in the place of a protocol version.
CANCEL, ENCRYPT_TLS, ENCRYPT_GSS = 80877102, 80877103, 80877104
#: Bytes of a first packet, at most; the server's own bound.
STARTUP_BYTES_MOST = 10_000
#: Bytes of a Bind that hold its two names.
NAMES_BYTES_MOST = 1_024
#: Texts of one transaction that are kept, and letters of all together.
TEXTS_MOST, SUBJECT_MOST = 100, 65_536

ASKED = frozenset(b"BCDEFHPQSXcdfp")
ANSWERED = frozenset(b"123ACDEGHIKNRSTVWZcdnstv")
_COMMITS = re.compile(r"\s*(commit|end)\b(?!\s+prepared)", re.IGNORECASE)
#: Tags after which a Sync ends no transaction of its own.
_BLOCK = ("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "PREPARE TRANSACTION", "SAVEPOINT")


@dataclass(slots=True)
class _Cycle:
    """What is asked up to one ReadyForQuery."""

    #: by Query, or by Parse, Bind, Execute and Sync
    simple: bool = False
    texts: list[str] = field(default_factory=list)


class Postgres:
    """What two who speak PostgreSQL's protocol 3 say."""

    def __init__(self) -> None:
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}
        #: asked and not yet answered; `_open` is still being asked
        self._cycles: deque[_Cycle] = deque()
        self._open = _Cycle()
        self._asks_encryption = self._ready = False
        #: of the transaction that the server is in
        self._status, self._texts = "I", list[str]()
        self._failed = self._block = False

    def requests(self) -> Parser:
        """Read what the client says."""
        while True:
            head = yield Need(8)
            length, code = int.from_bytes(head[:4]), int.from_bytes(head[4:])
            if not 8 <= length <= STARTUP_BYTES_MOST:
                raise UnreadableError("no first packet of PostgreSQL: encrypted at once?")
            if code == CANCEL:
                return
            self._asks_encryption = code in {ENCRYPT_TLS, ENCRYPT_GSS}
            yield Pass(length)
            if not self._asks_encryption:
                break
        while True:
            kind, length = yield from _head(ASKED)
            if kind in b"BCEPQ":
                most = NAMES_BYTES_MOST if kind in b"BC" else HELD_BYTES_MOST
                body = (yield Need(min(length, most)))[5:]
                for event in self._asked(kind, body):  # noqa: UP028  a list takes nothing sent back
                    yield event
            elif kind in b"SF":
                self._close_cycle(simple=kind in b"F")
            yield Pass(length)

    def answers(self) -> Parser:
        """Read what the server says."""
        while True:
            first = yield Need(1)
            if self._asks_encryption and first != b"E":
                self._asks_encryption = False
                if first != b"N":
                    raise UnreadableError("encrypted")
                yield Pass(1)
                continue
            kind, length = yield from _head(ANSWERED)
            if kind in b"CZ":
                body = (yield Need(min(length, HELD_BYTES_MOST)))[5:]
                event = self._complete(_text(body)) if kind in b"C" else self._is_ready(_text(body))
                if event:
                    yield event
            elif kind in b"E":
                self._failed = True
            elif kind in b"G":
                self._copies_in()
            yield Pass(length)

    def _asked(self, kind: int, body: bytes) -> list[Event]:
        if kind in b"P":
            name, text, *_ = [*body.split(b"\0", 2), b"", b""]
            self._statements[name] = _text(text)
        elif kind in b"B":
            portal, name, *_ = [*body.split(b"\0", 2), b"", b""]
            self._portals[portal] = self._statements.get(name, "")
        elif kind in b"C":
            (self._statements if body[:1] == b"S" else self._portals).pop(body[1:].rstrip(b"\0"), None)
        else:
            return self._executed(kind, body)
        return []

    def _executed(self, kind: int, body: bytes) -> list[Event]:
        text = _text(body) if kind in b"Q" else self._portals.get(body.split(b"\0", 1)[0], "")
        self._open.texts.append(text)
        if kind in b"Q":
            self._close_cycle(simple=True)
        commits = [Event("commit", "request", text)] if _COMMITS.match(text) else []
        return [Event("statement", "request", text), *commits]

    def _close_cycle(self, *, simple: bool) -> None:
        self._open.simple = simple
        self._cycles.append(self._open)
        self._open = _Cycle()

    def _copies_in(self) -> None:
        """The server leaves out the Sync that came with the Execute of a COPY; another follows the data."""
        if self._cycles and not self._cycles[0].simple:
            copying = self._cycles.popleft()
            after = self._cycles[0] if self._cycles else self._open
            after.texts[:0] = copying.texts

    def _complete(self, tag: str) -> Event | None:
        self._block |= tag.startswith(_BLOCK)
        return Event("commit", "answer", self._said()) if tag == "COMMIT" else None

    def _is_ready(self, status: str) -> Event | None:
        if not self._ready:
            self._ready = True
            return None
        if not self._cycles:
            raise UnreadableError("an answer to nothing that was asked")
        alone = self._status == status == "I" and not (self._failed or self._block)
        event = Event("autocommit", "answer", self._said()) if alone and self._cycles[0].texts else None
        texts = self._cycles.popleft().texts
        self._texts = [*self._texts, *texts][:TEXTS_MOST] if status != "I" else []
        self._status, self._failed, self._block = status, False, False
        return event

    def _said(self) -> str:
        texts = [*self._texts, *(self._cycles[0].texts if self._cycles else self._open.texts)]
        return ";\n".join(texts)[:SUBJECT_MOST]


def _head(known: frozenset[int]) -> Generator[Need, bytes, tuple[int, int]]:
    """Look at a message's kind and its length, kind included."""
    head = yield Need(5)
    kind, length = head[0], int.from_bytes(head[1:])
    if kind not in known or length < 4:
        raise UnreadableError(f"no message of PostgreSQL: {head.hex()}")
    return kind, length + 1


def _text(body: bytes) -> str:
    return body.rstrip(b"\0").decode(errors="replace")
