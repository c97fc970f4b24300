"""Is an order obeyed once, by whoever passes first, and noted before it strikes? With processes of this test's own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from paidonce.chaos.orders import Desk, Orders
from paidonce.chaos.strikes import Strike, StruckError

#: Passes a step until its standard input ends, and says so each time that it came through.
PASSING = """
import sys
from pathlib import Path
from paidonce.app import steps
from paidonce.chaos.orders import Orders

@steps.step("here.pass")
def passed():
    pass

steps.listen(Orders(Path(sys.argv[1]), "the process"))
for line in sys.stdin:
    passed()
    print("through", flush=True)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path / "orders")
    made.open()
    return made


@pytest.mark.parametrize(("when", "through"), [("before", b""), ("after", b"")])
def test_a_running_process_is_killed_where_it_was_ordered(desk: Desk, when: str, through: bytes) -> None:
    argv = [sys.executable, "-c", PASSING, str(desk.folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"through\n"
        desk.give(7, Strike.parse(f"here.pass:{when}:kill"))
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(30) == -signal.SIGKILL
        assert process.stdout.read() == through
    (struck,) = desk.struck({7}).values()
    assert (struck.pid, struck.process) == (process.pid, "the process")


def test_an_order_strikes_one_of_those_who_pass(desk: Desk) -> None:
    orders = [Orders(desk.folder, f"process {number}") for number in range(8)]
    desk.give(1, Strike.parse("a.b:before:exception"))
    hits: list[str] = []

    def passes(one: Orders) -> None:
        try:
            one.before("a.b")
        except StruckError as error:
            hits.append(str(error))

    threads = [Thread(target=passes, args=[one]) for one in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hits == ["a.b:before:exception"]
    assert desk.struck({1})[1].pid == os.getpid()


def test_only_the_place_that_was_named_is_struck(desk: Desk) -> None:
    orders, strike = Orders(desk.folder, "me"), Strike.parse("a.b:after:exception")
    desk.give(2, strike)
    orders.before("a.b")
    orders.after("a.c", 0.0, None)
    assert desk.is_ordered(strike)
    with pytest.raises(StruckError):
        orders.after("a.b", 0.0, ValueError())
    assert not desk.is_ordered(strike)
    orders.after("a.b", 0.0, None)


def test_what_was_taken_back_strikes_nobody(desk: Desk) -> None:
    strike = Strike.parse("a.b:before:exception")
    desk.give(3, strike)
    assert desk.take_back(strike)
    Orders(desk.folder, "me").before("a.b")
    assert not desk.take_back(strike)
    assert desk.struck({3}) == {}
