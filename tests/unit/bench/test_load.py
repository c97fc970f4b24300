"""Does the generator of load send what it should, and count what it gets?"""

import asyncio

import pytest

from paidonce.bench.load import Job, run

CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nIdempotent-Replayed: true\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
CONFLICT = b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Answers each request with the next of `answers`, in pieces of `piece` bytes."""

    def __init__(self, answers: list[bytes], piece: int) -> None:
        self.answers, self.piece = answers, piece
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(2) == b"{}"
                answer = self.answers[len(self.requests) % len(self.answers)]
                self.requests.append(head)
                for at in range(0, len(answer), self.piece):
                    writer.write(answer[at : at + self.piece])
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def loaded(
    answers: list[bytes], *, piece: int = 1_000, keys: int = 0, expected: str = "", seconds: float = 0.5, **more
):
    server = Server(answers, piece)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    result = await run(Job("127.0.0.1", port, "t", "{}", 3, seconds, "k", keys, expected, **more))
    listening.close()
    return server, result


@pytest.mark.parametrize("answer", [CREATED, CHUNKED])
@pytest.mark.parametrize("piece", [1, 7, 1_000])
async def test_every_request_has_a_fresh_key_and_every_answer_counts(answer, piece):
    server, result = await loaded([answer], piece=piece)
    keys = [head.rsplit(b": ", 1)[1].strip() for head in server.requests]
    assert len(set(keys)) == len(keys) == result.good == len(result.latencies_us) > 3
    assert not result.wrong
    assert 0 < result.cpu_share <= 1.1
    assert all(0 < latency < 1_000_000 for latency in result.latencies_us)


async def test_replays_go_round_and_must_say_that_they_are_replays():
    server, result = await loaded([CREATED], keys=2, expected="\r\nidempotent-replayed: true\r\n")
    assert {head.rsplit(b": ", 1)[1].strip() for head in server.requests} == {b"k-0", b"k-1"}
    assert result.good == len(server.requests)
    assert not result.wrong
    _, result = await loaded([CHUNKED], keys=2, expected="\r\nidempotent-replayed: true\r\n")
    assert result.good == 0
    assert sum(result.wrong.values()) > 0


async def test_another_status_is_no_good_answer():
    server, result = await loaded([CREATED, CONFLICT])
    assert result.wrong == {"409": len(server.requests) // 2}
    assert result.good == len(server.requests) - result.wrong["409"]


async def test_a_connection_that_the_server_ends_is_counted():
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    result = await run(Job("127.0.0.1", port, "t", "{}", 2, 5.0, "k", 0, ""))
    listening.close()
    assert result.wrong == {"connection lost": 2}


async def test_at_a_given_rate_no_request_is_early():
    server = Server([CREATED], 1_000)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    result = await run(Job("127.0.0.1", port, "t", "{}", 3, 0.2, "k", 0, "", rate=20.0))
    listening.close()
    assert 1 <= result.good <= 0.2 * 20 + 1
    assert not result.wrong


async def test_so_many_requests_each_with_the_next_token_and_no_more():
    tokens = [f"t{number}" for number in range(20)]
    answer = CREATED.replace(b"201 Created", b"200 OK")
    server, result = await loaded([answer], seconds=30, tokens=tokens, most=20, request="GET /v1/me", status=200)
    sent = [head.split(b"Bearer ")[1].split(b"\r\n")[0].decode() for head in server.requests]
    assert sorted(sent) == sorted(tokens)
    assert {head.split(b"\r\n")[0] for head in server.requests} == {b"GET /v1/me HTTP/1.1"}
    assert (result.good, result.wrong) == (20, {})
