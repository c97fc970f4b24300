"""Does the proxy find each protocol's events, and do all bytes go on unharmed, whatever they are?

The conversations are written by hand from the protocols' own descriptions.
"""

import struct
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paidonce.chaos.proxy.protocols import PROTOCOLS, check_event
from paidonce.chaos.proxy.reading import SIDES, Event, Reading, Side

#: Who says what, in order.
Conversation = Sequence[tuple[Side, bytes]]


class Heard:
    """A finder with both its readings, and what came out of them."""

    def __init__(self, protocol: str) -> None:
        finder = PROTOCOLS[protocol].finder()
        self.readings: dict[Side, Reading] = {
            "request": Reading(finder.requests()),
            "answer": Reading(finder.answers()),
        }
        self.events: list[Event] = []
        self.passed: dict[Side, bytes] = {"request": b"", "answer": b""}
        #: for each event, how many bytes had gone on that way
        self.at: list[int] = []

    def hear(self, side: Side, data: bytes) -> None:
        for one in self.readings[side].feed(data):
            if isinstance(one, Event):
                self.events.append(one)
                self.at.append(len(self.passed[side]))
            else:
                self.passed[side] += one

    def end(self) -> None:
        for side, reading in self.readings.items():
            self.passed[side] += reading.rest()

    @property
    def blind(self) -> list[str]:
        return [reading.blind for reading in self.readings.values() if reading.blind]

    @property
    def said(self) -> list[tuple[str, str, str]]:
        return [(event.name, event.side, event.subject) for event in self.events]


def heard(protocol: str, conversation: Conversation) -> Heard:
    found = Heard(protocol)
    for side, data in conversation:
        found.hear(side, data)
    return found


def pg(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", 4 + len(body)) + body


def first(code: int, body: bytes = b"") -> bytes:
    return struct.pack("!ii", 8 + len(body), code) + body


def query(text: str) -> bytes:
    return pg("Q", text.encode() + b"\0")


def extended(text: str, name: bytes = b"") -> bytes:
    bind = pg("B", b"\0" + name + b"\0" + struct.pack("!hhi2sh", 0, 1, 2, b"42", 0))
    return pg("P", name + b"\0" + text.encode() + b"\0\0\0") + bind + pg("D", b"P\0") + pg("E", b"\0\0\0\0\0")


def done(tag: str) -> bytes:
    return pg("C", tag.encode() + b"\0")


SYNC, PARSED = pg("S"), pg("1") + pg("2") + pg("n")
IDLE, IN_BLOCK, BROKEN = pg("Z", b"I"), pg("Z", b"T"), pg("Z", b"E")
ROW = pg("D", struct.pack("!hi4s", 1, 4, b"\0\0\0\7"))
STARTED: Conversation = [
    ("request", first(80877104)),
    ("answer", b"N"),
    ("request", first(80877103)),
    ("answer", b"N"),
    ("request", first(196608, b"user\0paidonce\0\0")),
    ("answer", pg("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")),
    ("request", pg("p", b"SCRAM-SHA-256\0\0\0\0\1n")),
    ("answer", pg("R", struct.pack("!i", 0)) + pg("S", b"TimeZone\0UTC\0") + pg("K", b"\0" * 8) + IDLE),
]


def kafka_request(api: int, version: int, number: int, client: bytes | None = b"relay-0", body: bytes = b"") -> bytes:
    name = struct.pack("!h", -1) if client is None else struct.pack("!h", len(client)) + client
    frame = struct.pack("!hhi", api, version, number) + name + body
    return struct.pack("!i", len(frame)) + frame


def kafka_answer(number: int, body: bytes = b"\0\0") -> bytes:
    return struct.pack("!ii", 4 + len(body), number) + body


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


ACCEPTING = "WITH wanted AS (SELECT 1) INSERT INTO payments VALUES ($1)"
#: Of RESP, with their first arguments.
COMMANDS = {"AUTH": "secret", "HELLO": "3", "SET": "cart:1", "GET": "cart:1", "PING": "", "MGET": "a"}
POSTGRES: Conversation = [
    *STARTED,
    ("request", query("BEGIN")),
    ("answer", done("BEGIN") + IN_BLOCK),
    ("request", extended("INSERT INTO inbox VALUES ($1)") + SYNC),
    ("answer", PARSED + done("INSERT 0 1") + IN_BLOCK),
    ("request", query("COMMIT")),
    ("answer", done("COMMIT") + IDLE),
    ("request", extended(ACCEPTING, b"_pg3_0") + SYNC),
    ("answer", PARSED + ROW + done("SELECT 1") + IDLE),
    ("request", pg("X")),
]
KAFKA: Conversation = [
    ("request", kafka_request(18, 4, 1, body=b"\0")),
    ("answer", kafka_answer(1, b"\0" * 300)),
    ("request", kafka_request(0, 9, 2, body=b"x" * 5000) + kafka_request(1, 11, 3, None)),
    ("answer", kafka_answer(2, b"\0" * 40) + kafka_answer(3, b"y" * 9000)),
    ("request", kafka_request(26, 1, 4, body=b"\0\7relay-0" + b"\0" * 10 + b"\1")),
    ("answer", kafka_answer(4)),
]
RESP: Conversation = [
    ("request", command(b"AUTH", b"secret") + command(b"HELLO", b"3")),
    ("answer", b"+OK\r\n%2\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n$5\r\nproto\r\n:3\r\n"),
    ("request", command(b"SET", b"cart:1", b"\r\n*" * 3000, b"EX", b"60")),
    ("answer", b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n+OK\r\n"),
    ("request", command(b"get", b"cart:1") + b"PING\r\n" + command(b"MGET", b"a", b"b")),
    ("answer", b"$-1\r\n+PONG\r\n*2\r\n$1\r\n1\r\n*2\r\n:1\r\n_\r\n"),
]
HTTP: Conversation = [
    ("request", b"POST /v1/charges HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
    ("answer", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("answer", b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"),
    ("request", b"HEAD /healthz HTTP/1.1\r\n\r\nGET /v1/charges?reference=p-1 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("answer", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    ("request", b"GET /end HTTP/1.1\r\n\r\n"),
    ("answer", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end HTTP/1.1 200 OK\r\n\r\n"),
]
CONVERSATIONS = {"postgres": POSTGRES, "kafka": KAFKA, "resp": RESP, "http": HTTP}


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    for size in sizes:
        if data:
            yield data[:size]
            data = data[size:]
    if data:
        yield data


def joined(conversation: Conversation, side: Side) -> bytes:
    return b"".join(data for said, data in conversation if said == side)


SIZES = st.lists(st.integers(1, 40), max_size=60)


@pytest.mark.parametrize("protocol", CONVERSATIONS)
@given(data=st.data())
def test_in_any_pieces_the_same_bytes_go_on_and_the_same_events_are_found(protocol: str, data: st.DataObject) -> None:
    conversation = CONVERSATIONS[protocol]
    pieces = [(side, piece) for side, said in conversation for piece in cut(said, data.draw(SIZES))]
    whole, found = heard(protocol, conversation), heard(protocol, pieces)
    found.end()
    for side in SIDES:
        assert found.passed[side] == joined(conversation, side)
    assert (found.said, found.blind) == (whole.said, [])
    # Each lies at the same byte, so a fault strikes there however the network cuts.
    assert found.at == whole.at


@pytest.mark.parametrize("protocol", CONVERSATIONS)
@given(data=st.data())
def test_whatever_comes_goes_on(protocol: str, data: st.DataObject) -> None:
    """A conversation that breaks off into noise, on either side, at any byte."""
    heard_ = Heard(protocol)
    sent: dict[Side, bytes] = {"request": b"", "answer": b""}
    begin = data.draw(st.integers(0, len(CONVERSATIONS[protocol])))
    noise = st.tuples(st.sampled_from(SIDES), st.binary(max_size=60))
    for side, said in [*CONVERSATIONS[protocol][:begin], *data.draw(st.lists(noise, max_size=8))]:
        kept = said[: data.draw(st.integers(0, len(said)))] if data.draw(st.booleans()) else said
        sent[side] += kept
        heard_.hear(side, kept)
    heard_.end()
    assert heard_.passed == sent


def test_a_commit_is_found_at_its_answer_with_all_that_it_commits() -> None:
    assert heard("postgres", POSTGRES).said == [
        ("statement", "request", "BEGIN"),
        ("statement", "request", "INSERT INTO inbox VALUES ($1)"),
        ("statement", "request", "COMMIT"),
        ("commit", "request", "COMMIT"),
        ("commit", "answer", "BEGIN;\nINSERT INTO inbox VALUES ($1);\nCOMMIT"),
        ("statement", "request", ACCEPTING),
        ("autocommit", "answer", ACCEPTING),
    ]


def test_a_statement_that_commits_by_itself_is_found_where_the_server_has_committed() -> None:
    """That is ReadyForQuery: its CommandComplete goes out before the commit."""
    found = heard("postgres", POSTGRES)
    assert found.at[-1] == len(joined(POSTGRES, "answer")) - len(IDLE)


def test_its_name_is_enough_for_a_statement_that_was_prepared_before() -> None:
    again = pg("B", b"\0_pg3_0\0" + b"\0" * 6) + pg("E", b"\0\0\0\0\0") + SYNC
    found = heard("postgres", [*POSTGRES[:-1], ("request", again), ("answer", pg("2") + done("SELECT 1") + IDLE)])
    assert found.said[-1] == ("autocommit", "answer", ACCEPTING)


def test_a_pipeline_up_to_one_sync_is_one_commit() -> None:
    asked = extended("INSERT INTO a VALUES (1)") + extended("INSERT INTO b VALUES (1)") + SYNC + extended("SELECT 1")
    answered = PARSED + done("INSERT 0 1") + PARSED + done("INSERT 0 1") + IDLE
    found = heard("postgres", [*STARTED, ("request", asked + SYNC), ("answer", answered + PARSED + IDLE)])
    assert [subject for name, _, subject in found.said if name == "autocommit"] == [
        "INSERT INTO a VALUES (1);\nINSERT INTO b VALUES (1)",
        "SELECT 1",
    ]


def test_a_transaction_in_a_pipeline_is_found_at_its_commit() -> None:
    asked = extended("BEGIN") + extended("UPDATE a SET b = 1") + extended("COMMIT") + SYNC
    tags = [PARSED + done(tag) for tag in ("BEGIN", "UPDATE 1", "COMMIT")]
    found = heard("postgres", [*STARTED, ("request", asked), ("answer", b"".join(tags) + IDLE)])
    assert found.said[-1] == ("commit", "answer", "BEGIN;\nUPDATE a SET b = 1;\nCOMMIT")


@pytest.mark.parametrize(
    "answered",
    [pg("E", b"SERROR\0C23505\0\0") + IDLE, done("ROLLBACK") + IDLE],
    ids=["a failed statement", "a commit that is a rollback"],
)
def test_what_the_server_did_not_commit_is_no_commit(answered: bytes) -> None:
    found = heard("postgres", [*STARTED, ("request", query("COMMIT")), ("answer", answered)])
    assert [one for one in found.said if one[1] == "answer"] == []


def test_copies_pass_and_the_statements_after_them_are_found() -> None:
    """libpq sends a Sync right after a COPY of the extended protocol, which the server leaves out."""
    copied = pg("d", b"1\t2\n") + pg("c")
    found = heard(
        "postgres",
        [
            *STARTED,
            ("request", extended("COPY a FROM STDIN") + SYNC),
            ("answer", pg("1") + pg("2") + pg("G", b"\0\0\0")),
            ("request", copied + SYNC),
            ("answer", done("COPY 1") + IDLE),
            ("request", query("COPY b FROM STDIN")),
            ("answer", pg("G", b"\0\0\0")),
            ("request", copied),
            ("answer", done("COPY 1") + IDLE),
            ("request", query("COPY a TO STDOUT")),
            ("answer", pg("H", b"\0\0\0") + copied + done("COPY 1") + IDLE),
        ],
    )
    assert [subject for name, _, subject in found.said if name == "autocommit"] == [
        "COPY a FROM STDIN",
        "COPY b FROM STDIN",
        "COPY a TO STDOUT",
    ]
    assert found.blind == []


def test_a_request_to_cancel_says_nothing_more() -> None:
    found = heard("postgres", [("request", first(80877102, b"\0" * 8))])
    assert (found.said, found.blind) == ([], [])


@pytest.mark.parametrize(
    ("protocol", "conversation"),
    [
        ("postgres", [("request", first(80877103)), ("answer", b"S"), ("request", b"\x16\x03\x01\0\xfa")]),
        ("postgres", [("request", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")]),
        ("kafka", [("request", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" * 9)]),
        ("kafka", [("request", kafka_request(3, 9, 7)), ("answer", kafka_answer(8))]),
        ("resp", [("request", command(b"SUBSCRIBE", b"a"))]),
        ("resp", [("answer", b"+OK\r\n")]),
        ("http", [("request", b"PRI * HTTP/2.0\r\n\r\n")]),
        ("http", [("request", b"GET / HTTP/1.1\r\n\r\n"), ("answer", b"HTTP/1.1 101 Switching Protocols\r\n\r\n")]),
    ],
)
def test_what_cannot_be_read_makes_blind_and_says_why(protocol: str, conversation: Conversation) -> None:
    found = heard(protocol, [*conversation, ("request", b"more"), ("answer", b"more")])
    assert found.blind


def test_requests_of_kafka_are_paired_with_their_answers() -> None:
    assert heard("kafka", KAFKA).said == [
        ("ApiVersions", "request", "relay-0"),
        ("ApiVersions", "answer", "relay-0"),
        ("Produce", "request", "relay-0"),
        ("Fetch", "request", ""),
        ("Produce", "answer", "relay-0"),
        ("Fetch", "answer", ""),
        ("EndTxn", "request", "relay-0 commit"),
        ("EndTxn", "answer", "relay-0 commit"),
    ]


@pytest.mark.parametrize(("version", "body"), [(1, b"\0\3abc"), (3, b"\0\4abc")], ids=["plain", "flexible"])
@pytest.mark.parametrize(("committed", "end"), [(b"\1", "commit"), (b"\0", "abort")])
def test_an_end_of_a_transaction_says_which(version: int, body: bytes, committed: bytes, end: str) -> None:
    found = heard("kafka", [("request", kafka_request(26, version, 1, body=body + b"\0" * 10 + committed + b"\0"))])
    assert found.said == [("EndTxn", "request", f"relay-0 {end}")]


def test_a_produce_that_wants_no_answer_is_not_waited_for() -> None:
    asked = kafka_request(0, 9, 1) + kafka_request(3, 9, 2)
    assert heard("kafka", [("request", asked), ("answer", kafka_answer(2))]).said[-1][0] == "Metadata"


def test_commands_of_valkey_are_paired_with_their_answers() -> None:
    found = heard("resp", RESP)
    assert [event.name for event in found.events if event.side == "request"] == [*COMMANDS]
    assert [(event.name, event.subject) for event in found.events if event.side == "answer"] == [*COMMANDS.items()]


def test_requests_over_http_are_paired_with_their_last_answers() -> None:
    found = heard("http", HTTP)
    assert [(event.name, event.subject) for event in found.events if event.side == "answer"] == [
        ("POST", "/v1/charges"),
        ("HEAD", "/healthz"),
        ("GET", "/v1/charges?reference=p-1"),
        ("GET", "/end"),
    ]
    assert len([event for event in found.events if event.side == "request"]) == 4


@pytest.mark.parametrize(
    ("protocol", "name", "side"),
    [("postgres", "autocommit", "request"), ("kafka", "produce", "answer"), ("bytes", "*x", "answer")],
)
def test_an_event_that_never_happens_is_refused(protocol: str, name: str, side: Side) -> None:
    with pytest.raises(ValueError, match=f"{protocol} has no event"):
        check_event(protocol, name, side)
