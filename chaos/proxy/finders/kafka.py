"""Which request of Kafka does this answer belong to? They are paired by the correlation id.

Every request and its answer is an event named after its API (`Produce`, `EndTxn`, …; `api-N` for others); the
subject is the client's id, which for the relay's producers is their transactional id, and for an EndTxn also
`commit` or `abort`. (Apache Kafka protocol guide, "Request and Response Headers", "The Messages".)
"""

from collections.abc import Sequence

from paidonce.chaos.proxy.reading import SIDES, Event, Need, Parser, Pass, Side, UnreadableError

NAMES = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    8: "OffsetCommit",
    9: "OffsetFetch",
    10: "FindCoordinator",
    11: "JoinGroup",
    12: "Heartbeat",
    13: "LeaveGroup",
    14: "SyncGroup",
    18: "ApiVersions",
    19: "CreateTopics",
    22: "InitProducerId",
    24: "AddPartitionsToTxn",
    25: "AddOffsetsToTxn",
    26: "EndTxn",
    27: "WriteTxnMarkers",
    28: "TxnOffsetCommit",
    52: "Vote",
    53: "BeginQuorumEpoch",
    55: "DescribeQuorum",
    56: "AlterPartition",
    62: "BrokerRegistration",
    63: "BrokerHeartbeat",
}
EVENTS: frozenset[tuple[str, Side]] = frozenset((name, side) for name in NAMES.values() for side in SIDES)

#: Bytes of a frame, at most: the broker's own bound for a request (socket.request.max.bytes) and some.
FRAME_BYTES_MOST = 1 << 28
#: Above the highest API there is, with room.
API_MOST = 200
#: Bytes of a request that hold its header, and a whole EndTxn.
HEADER_BYTES_MOST = 1_024
END_TXN, END_TXN_FLEXIBLE_FROM = 26, 3


class Kafka:
    """What a client and a broker say, or two brokers."""

    def __init__(self) -> None:
        #: correlation id -> what was asked; in order, as a broker answers
        self._asked: dict[int, tuple[str, str]] = {}

    def requests(self) -> Parser:
        """Read what the client says."""
        while True:
            size = int.from_bytes((yield Need(4)), signed=True)
            if not 10 <= size <= FRAME_BYTES_MOST:
                raise UnreadableError("no request of Kafka: encrypted?")
            frame = (yield Need(4 + min(size, HEADER_BYTES_MOST)))[4:]
            api, version = int.from_bytes(frame[:2]), int.from_bytes(frame[2:4])
            if api > API_MOST:
                raise UnreadableError(f"no API of Kafka: {api}")
            name, subject = NAMES.get(api, f"api-{api}"), _subject(api, version, frame)
            self._asked[int.from_bytes(frame[4:8])] = name, subject
            yield Event(name, "request", subject)
            yield Pass(4 + size)

    def answers(self) -> Parser:
        """Read what the broker says."""
        while True:
            head = yield Need(8)
            size, number = int.from_bytes(head[:4], signed=True), int.from_bytes(head[4:])
            if not 4 <= size <= FRAME_BYTES_MOST or number not in self._asked:
                raise UnreadableError("no answer to anything that was asked")
            # Answers come in order: what lies before was a Produce that wants none.
            for passed in [*self._asked]:
                name, subject = self._asked.pop(passed)
                if passed == number:
                    break
            yield Event(name, "answer", subject)
            yield Pass(4 + size)


def _subject(api: int, version: int, frame: bytes) -> str:
    length = max(0, int.from_bytes(frame[8:10], signed=True))
    client = frame[10 : 10 + length].decode(errors="replace")
    if api != END_TXN:
        return client
    body = frame[10 + length :]
    ends = _committed(body[1:], flexible=True) if version >= END_TXN_FLEXIBLE_FROM else _committed(body, flexible=False)
    return f"{client} {'commit' if ends else 'abort'}"


def _committed(body: Sequence[int] | bytes, *, flexible: bool) -> bool:
    """Read the end of `transactional_id, producer_id (8 bytes), producer_epoch (2), committed (1)`."""
    name = 1 + body[0] - 1 if flexible and body else 2 + int.from_bytes(bytes(body[:2]))
    at = name + 10
    return at < len(body) and body[at] == 1
