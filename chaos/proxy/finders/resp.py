"""Which command of Valkey does this answer belong to? They are paired in order, as RESP answers them.

Every command and its answer is an event named after the command in capitals; the subject is its first argument.
Where answers come unasked (SUBSCRIBE, MONITOR, CLIENT REPLY) nothing more is seen. (Valkey, "RESP protocol".)
"""

from collections import deque
from collections.abc import Generator

from paidonce.chaos.proxy.reading import Event, Line, Need, Parser, Pass, UnreadableError

#: Bytes of a name or a key that are looked at, at most.
WORD_BYTES_MOST = 1_024
#: Answers within each other, at most.
DEPTH_MOST = 32
UNASKED = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC"})

_LINES, _BULKS, _LISTS, _PAIRS = b"+-:_#,(", b"$!=", b"*~", b"%|"

Looked = Generator[Need | Line, bytes, bytes]


class Resp:
    """What a client and a Valkey say."""

    def __init__(self) -> None:
        self._asked: deque[tuple[str, str]] = deque()

    def requests(self) -> Parser:
        """Read what the client says."""
        while True:
            line = yield Line()
            if line[:1] == b"*":
                yield from self._command(line)
            else:
                name, subject, *_ = [*line.decode(errors="replace").split(), "", ""]
                if name:
                    yield self._take(name.upper(), subject)
                yield Pass(len(line))

    def answers(self) -> Parser:
        """Read what the server says."""
        while True:
            first = yield Need(1)
            if first == b">":
                yield from _answer(DEPTH_MOST)
                continue
            if not self._asked:
                raise UnreadableError("an answer to nothing that was asked")
            name, subject = self._asked.popleft()
            yield Event(name, "answer", subject)
            yield from _answer(DEPTH_MOST)

    def _command(self, line: bytes) -> Parser:
        count = _number(line)
        if count < 1:
            raise UnreadableError("a command without a name")
        # Name and first argument are looked at before any of it goes on.
        looked, name = yield from _word(line)
        subject = ""
        if count > 1:
            looked, subject = yield from _word(looked)
        yield self._take(name.upper(), subject)
        yield Pass(len(looked))
        for _ in range(count - 2):
            head = yield Line()
            yield Pass(len(head) + _number(head, b"$") + 2)

    def _take(self, name: str, subject: str) -> Event:
        if name in UNASKED or (name == "CLIENT" and subject.upper() == "REPLY"):
            raise UnreadableError(f"what {name} is answered comes unasked, or not at all")
        self._asked.append((name, subject))
        return Event(name, "request", subject)


def _word(looked: bytes) -> Generator[Need | Line, bytes, tuple[bytes, str]]:
    """Look at one more bulk string; returns all that was looked at, and its text."""
    before = len(looked)
    looked = yield Line(before)
    begin, length = len(looked), _number(looked[before:], b"$")
    if length > WORD_BYTES_MOST:
        raise UnreadableError(f"a name or a key of {length} bytes")
    looked = yield Need(begin + length + 2)
    return looked, looked[begin : begin + length].decode(errors="replace")


def _answer(depth: int) -> Parser:
    """Let one answer go on, with all that is in it."""
    head = yield Line()
    kind = head[:1]
    yield Pass(len(head))
    if kind in _LINES:
        return
    count = _number(head, kind)
    if kind in _BULKS:
        yield Pass(count + 2 if count >= 0 else 0)
    elif kind in _LISTS + _PAIRS + b">" and depth:
        for _ in range(count * (2 if kind in _PAIRS else 1)):
            yield from _answer(depth - 1)
        if kind == b"|":
            # Attributes stand before the answer that they are about.
            yield from _answer(depth - 1)
    else:
        raise UnreadableError(f"no answer of Valkey: {head[:20]!r}")


def _number(line: bytes, kind: bytes = b"*") -> int:
    text = line[1:-2]
    if line[:1] != kind or not text.lstrip(b"-").isdigit() or len(text) > 10:
        raise UnreadableError(f"no length: {line[:20]!r}")
    return int(text)
