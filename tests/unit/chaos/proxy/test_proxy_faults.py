"""Does each fault do to both sides what its table says, at its event, to its connections, for its time?"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from paidonce.chaos.proxy.client import NotFiredError, Proxies, ProxyError
from paidonce.chaos.proxy.faults import Fault, Trigger
from paidonce.devstack.ports import free_port
from paidonce.devstack.waiting import until

#: Seconds for what must come; and for what must not, as a look.
COMES_S, LOOK_S = 10.0, 0.1


class Echo:
    """A server that answers every line with the same line, and knows what became of its connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.ends: list[str] = []
        self.got: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=[self.listener.accept()[0]], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.got.append(data)
                    connection.sendall(data)
                self.ends.append("closed")
            except OSError:
                self.ends.append("reset")


class Client:
    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=COMES_S)

    def asks(self, said: bytes = b"ping\n") -> bytes:
        self.socket.sendall(said)
        return self.hears(len(said))

    def hears(self, count: int) -> bytes:
        """What comes up to so many bytes, or until the end."""
        self.socket.settimeout(COMES_S)
        found = b""
        while len(found) < count and (data := self.socket.recv(count - len(found))):
            found += data
        return found

    @property
    def hears_nothing(self) -> bool:
        self.socket.settimeout(LOOK_S)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        return False

    @property
    def is_reset(self) -> bool:
        self.socket.settimeout(COMES_S)
        try:
            self.socket.recv(1)
        except ConnectionResetError:
            return True
        return False


def cut_off(link: "Link") -> bool:
    """Make a connection, and tell whether it is reset, as early as it may be."""
    try:
        return link().is_reset
    except ConnectionResetError:
        return True


@pytest.fixture(scope="module")
def proxies() -> Iterator[Proxies]:
    with Proxies() as started:
        yield started


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


@pytest.fixture
def link(request: pytest.FixtureRequest, proxies: Proxies, echo: Echo) -> Iterator[Callable[[], Client]]:
    """Makes connections to the echo through a link that is named after the test."""
    address = proxies.open(request.node.name, "bytes", echo.address)
    yield lambda: Client(address)
    proxies.heal()


@pytest.fixture
def arm(request: pytest.FixtureRequest, proxies: Proxies) -> Callable[..., int]:
    def armed(kind: Any, **more: Any) -> int:
        return proxies.arm(Fault(link=request.node.name, kind=kind, **more))

    return armed


Link, Arm = Callable[[], Client], Callable[..., int]


def test_without_a_fault_it_is_as_without_a_proxy(link: Link, echo: Echo) -> None:
    client = link()
    assert client.asks(b"x" * 1_000_000) == b"x" * 1_000_000
    client.socket.sendall(b"last")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.hears(100) == b"last"
    until(lambda: echo.ends == ["closed"], within_s=COMES_S, what="the end at the server")


def test_a_reset_of_one_side_is_one_at_the_other(link: Link, echo: Echo) -> None:
    client = link()
    client.asks()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()
    until(lambda: echo.ends == ["reset"], within_s=COMES_S, what="the reset at the server")


def test_a_server_that_is_away_resets(proxies: Proxies) -> None:
    address = proxies.open("nobody", "bytes", f"127.0.0.1:{free_port()}")
    assert cut_off(lambda: Client(address))


def test_a_reset_strikes_both_sides_and_passes(link: Link, arm: Arm, echo: Echo, proxies: Proxies) -> None:
    client = link()
    client.asks()
    number = arm("reset")
    assert client.is_reset
    until(lambda: echo.ends == ["reset"], within_s=COMES_S, what="the reset at the server")
    assert link().asks() == b"ping\n"
    (firing,) = proxies.fired(number)
    assert (firing.kind, firing.connections, firing.to_server_bytes, firing.to_client_bytes) == ("reset", [1], 5, 5)


def test_a_reset_of_the_whole_link_refuses_new_connections_until_it_heals(
    link: Link, arm: Arm, proxies: Proxies
) -> None:
    client = link()
    client.asks()
    number = arm("reset", scope="link")
    assert client.is_reset
    with pytest.raises(ConnectionRefusedError):
        link()
    proxies.heal(number)
    assert link().asks() == b"ping\n"


def test_a_stall_keeps_bytes_and_connections_and_healing_lets_them_go_on(
    link: Link, arm: Arm, echo: Echo, proxies: Proxies
) -> None:
    client = link()
    client.asks()
    number = arm("stall")
    client.socket.sendall(b"later")
    assert client.hears_nothing
    proxies.heal(number)
    assert client.hears(5) == b"later"
    assert echo.ends == []


@pytest.mark.parametrize(("direction", "got"), [("to_server", [b"ping\n"]), ("to_client", [b"ping\n", b"more\n"])])
def test_a_stall_of_one_direction_leaves_the_other(
    link: Link, arm: Arm, echo: Echo, proxies: Proxies, direction: str, got: list[bytes]
) -> None:
    client = link()
    client.asks()
    arm("stall", direction=direction)
    client.socket.sendall(b"more\n")
    until(lambda: echo.got == got, within_s=COMES_S, what="what the server gets")
    assert client.hears_nothing
    proxies.heal()
    assert client.hears(5) == b"more\n"


def test_a_stall_of_the_whole_link_takes_new_connections_and_leads_them_nowhere(
    link: Link, arm: Arm, echo: Echo, proxies: Proxies
) -> None:
    number = arm("stall", scope="link")
    client = link()
    client.socket.sendall(b"ping\n")
    assert client.hears_nothing
    assert echo.got == []
    assert proxies.fired(number)[0].met == 1
    proxies.heal(number)
    assert client.is_reset
    assert link().asks() == b"ping\n"


def test_an_end_is_not_told_while_the_link_stalls(link: Link, arm: Arm, echo: Echo, proxies: Proxies) -> None:
    client = link()
    client.asks()
    number = arm("stall")
    client.socket.close()
    assert echo.ends == []
    proxies.heal(number)
    until(lambda: len(echo.ends) == 1, within_s=COMES_S, what="the end at the server")


@pytest.mark.parametrize("gone", ["server", "client"])
def test_of_a_half_open_connection_one_side_is_gone_and_the_other_is_not_told(
    link: Link, arm: Arm, echo: Echo, proxies: Proxies, gone: str
) -> None:
    client = link()
    client.asks()
    number = arm("half_open", gone=gone)
    if gone == "server":
        until(lambda: echo.ends == ["reset"], within_s=COMES_S, what="the reset at the server")
        client.socket.sendall(b"anybody there?")
        assert client.hears_nothing
    else:
        assert client.is_reset
        assert echo.ends == []
    proxies.heal(number)
    if gone == "server":
        assert client.is_reset
    until(lambda: echo.ends == ["reset"], within_s=COMES_S, what="the reset at the server")


def test_what_is_swallowed_is_lost_and_the_connection_ends_with_the_healing(
    link: Link, arm: Arm, echo: Echo, proxies: Proxies
) -> None:
    client = link()
    client.asks()
    number = arm("swallow", direction="to_client")
    client.socket.sendall(b"done?")
    until(lambda: echo.got[-1] == b"done?", within_s=COMES_S, what="the request at the server")
    assert client.hears_nothing
    proxies.heal(number)
    assert client.is_reset


def test_a_cut_lets_so_many_bytes_through(link: Link, arm: Arm, echo: Echo) -> None:
    client = link()
    client.asks()
    arm("cut_after", after_bytes=3, direction="to_client")
    client.socket.sendall(b"123456")
    assert client.hears(3) == b"123"
    assert client.is_reset


def test_a_slow_link_gives_bytes_out_slowly_until_it_heals(link: Link, arm: Arm, proxies: Proxies) -> None:
    client = link()
    client.asks()
    number = arm("rate", bytes_per_s=100, direction="to_client")
    client.socket.sendall(b"x" * 100_000)
    # At 100 bytes a second, all of it takes a quarter of an hour.
    assert client.hears(10) == b"x" * 10
    proxies.heal(number)
    assert client.hears(99_990) == b"x" * 99_990


def test_a_delay_ends_with_its_healing(link: Link, arm: Arm, proxies: Proxies) -> None:
    client = link()
    client.asks()
    number = arm("delay", delay_s=600.0)
    client.socket.sendall(b"late")
    assert client.hears_nothing
    proxies.heal(number)
    assert client.hears(4) == b"late"


def test_a_fault_heals_by_itself_when_its_time_is_over(link: Link, arm: Arm, proxies: Proxies) -> None:
    client = link()
    client.asks()
    number = arm("stall", for_s=2 * LOOK_S)
    client.socket.sendall(b"later")
    assert client.hears_nothing
    assert client.hears(5) == b"later"
    until(lambda: proxies.fired(number)[0].healed_at is not None, within_s=COMES_S, what="the note of the healing")


def test_a_fault_at_the_nth_connection_leaves_the_others(link: Link, arm: Arm, proxies: Proxies) -> None:
    number = arm("reset", on=Trigger(event="connect", at="request", nth=2))
    assert link().asks() == b"ping\n"
    assert cut_off(link)
    assert link().asks() == b"ping\n"
    (firing,) = proxies.fired(number)
    assert (firing.event, firing.connections) == ("connect request", [2])


def test_a_storm_strikes_so_many_times(link: Link, arm: Arm, proxies: Proxies) -> None:
    number = arm("reset", on=Trigger(event="connect", at="request"), times=3)
    assert [cut_off(link) for _ in range(3)] == [True] * 3
    assert link().asks() == b"ping\n"
    assert len(proxies.wait_fired(number, firings=3, within_s=0)) == 3


def test_a_fault_that_is_healed_before_its_event_never_begins(link: Link, arm: Arm, proxies: Proxies) -> None:
    number = arm("reset", on=Trigger(event="connect", at="request"))
    proxies.heal(number)
    assert link().asks() == b"ping\n"
    with pytest.raises(NotFiredError, match="0 of 1"):
        proxies.wait_fired(number, within_s=0)


def test_what_waits_for_a_fault_is_woken_by_it(link: Link, arm: Arm, proxies: Proxies) -> None:
    number, woken = arm("reset", on=Trigger(event="connect", at="request")), threading.Event()
    threading.Thread(target=lambda: (proxies.wait_fired(number), woken.set()), daemon=True).start()
    assert cut_off(link)
    assert woken.wait(COMES_S)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "reset", "link": "elsewhere"}, "there is no link 'elsewhere'"),
        ({"kind": "reset", "on": Trigger(event="COMMIT")}, "bytes has no event COMMIT"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    link: Link, proxies: Proxies, request: pytest.FixtureRequest, fault: Any, why: str
) -> None:
    with pytest.raises(ProxyError, match=why):
        proxies.arm(Fault(**{"link": request.node.name, **fault}))


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "explode"},
        {"kind": "rate"},
        {"kind": "stall", "delay_s": 1.0},
        {"kind": "reset", "direction": "to_client"},
        {"kind": "stall", "on": Trigger(event="x", nth=0)},
    ],
)
def test_a_fault_without_meaning_is_none(fault: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Fault(link="x", **fault)


def test_a_proxy_ends_with_who_started_it(echo: Echo) -> None:
    with Proxies() as own:
        client = Client(own.open("echo", "bytes", echo.address))
        assert client.asks() == b"ping\n"
        own._process.stdin.close()  # type: ignore[union-attr]  # it has one
        assert own._process.wait(COMES_S) == 0
