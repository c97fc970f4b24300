"""Does the client of examples/client pay once for each intent, killed at any point and on a line that loses things?"""

import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from paidonce.chaos.proxy.client import Proxies
from paidonce.chaos.proxy.faults import Fault, Trigger
from paidonce.devstack.issuer.clients import credentials

ROOT = Path(__file__).parents[3]
WITHIN_S = 30


def _package() -> ModuleType:
    """Import the example as whoever copies it does: as a package of their own."""
    at = ROOT / "examples" / "client"
    spec = importlib.util.spec_from_file_location(
        "copied_client", at / "__init__.py", submodule_search_locations=[str(at)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["copied_client"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _package()
PAYMENT = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}


@pytest.fixture(scope="module")
def line() -> Iterator[Proxies]:
    with Proxies() as proxies:
        yield proxies


@pytest.fixture(scope="module")
def lossy(line: Proxies, api: str) -> str:
    """The API at the other end of the line `api`."""
    return f"http://{line.open('api', 'http', api.removeprefix('http://'))}"


@pytest.fixture
def order() -> str:
    return f"order-{uuid4().hex}"


@pytest.fixture
def at(issuer_url: str, tmp_path: Path) -> Callable[..., Any]:
    """Open a client of the tenant acme at a URL; all of one test have one file of intents."""
    opened = []

    def open_client(url: str, *, token: str = "", give_up_s: float = WITHIN_S, answer_s: float = 2) -> Any:
        http = httpx.Client(base_url=url, timeout=answer_s, trust_env=False)
        issuer = httpx.Client(trust_env=False)
        intents = example.Intents(tmp_path / "intents.sqlite")
        opened.extend((http, issuer, intents))
        tokens = example.Tokens(issuer, f"{issuer_url}/token", *credentials("acme"), token=token)
        return example.Client(http, tokens, intents, patience=example.Patience(give_up_s, first_s=0.01))

    yield open_client
    for one in opened:
        one.close()


@pytest.fixture
def paid(rows: psycopg.Connection) -> Callable[[str], list[str]]:
    """Give the ids of the payments of an order."""

    def read(order: str) -> list[str]:
        found = rows.execute("SELECT id FROM payments WHERE reference = %s", [order])
        return [str(payment_id) for (payment_id,) in found]

    return read


def pay(client: Any, order: str, **changes: Any) -> Any:
    return client.pay(order, **PAYMENT | changes, reference=order)


# --- killed, by SIGKILL, in a process of its own


@pytest.fixture
def start(issuer_url: str, lossy: str, tmp_path: Path) -> Callable[..., Any]:
    """Start the command with arguments; the file of intents is that of `at`."""
    client_id, secret = credentials("acme")
    environment = os.environ | {
        "PAIDONCE_API": lossy,
        "PAIDONCE_TOKEN_URL": f"{issuer_url}/token",
        "PAIDONCE_CLIENT_ID": client_id,
        "PAIDONCE_CLIENT_SECRET": secret,
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "examples.client", "--verbose", "--intents", str(tmp_path / "intents.sqlite")]

    @contextmanager
    def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            yield process
            if process.poll() is None:
                process.kill()

    return started


def kill(process: subprocess.Popen[str]) -> None:
    assert process.poll() is None, "it ended before it was to be killed"
    process.kill()
    assert process.wait(WITHIN_S) == -signal.SIGKILL


def resumed(start: Callable[..., Any], *command: str) -> dict[str, Any]:
    with start(*command) as process:
        told, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, errors
    return dict(json.loads(told))


@contextmanager
def locked(intents: Path) -> Iterator[None]:
    """Hold up whoever wants to write an intent or its end."""
    with closing(sqlite3.connect(intents, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def killed_before_it_saves(line: Proxies, start: Any, order: str, intents: Path) -> None:
    example.Intents(intents).close()
    before = line.links()["api"]["events"]
    with locked(intents), start("pay", order, "--amount", "1250") as process:
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for the lock, however long
            process.wait(1)
        kill(process)
    assert line.links()["api"]["events"] == before, "it sent what it had not saved"


def killed_before_it_sends(line: Proxies, start: Any, order: str, intents: Path) -> None:
    number = line.arm(Fault(link="api", kind="swallow", on=Trigger(event="POST", at="request")))
    with start("pay", order, "--amount", "1250") as process:
        line.wait_fired(number, within_s=WITHIN_S)
        kill(process)
    line.heal()


def killed_before_it_hears(line: Proxies, start: Any, order: str, intents: Path) -> None:
    number = line.arm(Fault(link="api", kind="stall", on=Trigger(event="POST", at="answer")))
    with start("pay", order, "--amount", "1250") as process:
        line.wait_fired(number, within_s=WITHIN_S)
        kill(process)
    line.heal()


def killed_before_it_settles(line: Proxies, start: Any, order: str, intents: Path) -> None:
    number = line.arm(Fault(link="api", kind="stall", on=Trigger(event="POST", at="answer")))
    with start("pay", order, "--amount", "1250") as process:
        line.wait_fired(number, within_s=WITHIN_S)
        with locked(intents):
            line.heal()
            assert any("201 Created" in told for told in process.stderr), "it heard nothing"
            kill(process)


POINTS = {
    killed_before_it_saves: 0,
    killed_before_it_sends: 0,
    killed_before_it_hears: 1,
    killed_before_it_settles: 1,
}


#: Where it is killed in `make test`; the rest in `make test-slow`.
CORE = {killed_before_it_saves, killed_before_it_hears}


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, id=point.__name__, marks=[] if point in CORE else [pytest.mark.slow]) for point in POINTS],
)
def test_a_killed_client_pays_once(
    point: Callable[..., None],
    line: Proxies,
    start: Callable[..., Any],
    order: str,
    paid: Callable[[str], list[str]],
    tmp_path: Path,
) -> None:
    point(line, start, order, tmp_path / "intents.sqlite")
    there = paid(order)
    assert len(there) == POINTS[point]
    command = ["pay", order, "--amount", "1250"] if point is killed_before_it_saves else ["resume"]
    told = resumed(start, *command)
    assert (told["intent"], told["outcome"]) == (order, "ok")
    assert paid(order) == [told["document"]["id"]]
    assert there in ([], [told["document"]["id"]])
    assert told["replayed"] == bool(there)
    again = resumed(start, "pay", order, "--amount", "1250")
    assert again["document"] == told["document"]


# --- a line that loses things

LOSSES = [
    Fault(link="api", kind="reset", on=Trigger(event="POST", at="request")),
    Fault(link="api", kind="reset", on=Trigger(event="POST", at="answer"), times=3),
    Fault(link="api", kind="cut_after", after_bytes=120, direction="to_client", on=Trigger(event="POST", at="answer")),
    Fault(link="api", kind="half_open", gone="server", on=Trigger(event="POST", at="answer")),
    Fault(link="api", kind="swallow", direction="to_client", on=Trigger(event="POST", at="answer"), times=2),
    Fault(link="api", kind="swallow", direction="to_server", on=Trigger(event="POST", at="request")),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.kind}-{loss.on.at}")
def test_on_a_line_that_loses_things_an_intent_is_paid_once(
    loss: Fault, line: Proxies, lossy: str, at: Any, order: str, paid: Callable[[str], list[str]]
) -> None:
    client = at(lossy, answer_s=0.3)
    number = line.arm(loss)
    outcome = pay(client, order)
    assert len(line.fired(number)) == loss.times
    line.heal()
    assert isinstance(outcome, example.Ok)
    assert paid(order) == [outcome.document["id"]]


def test_without_an_answer_nobody_knows_and_later_somebody_does(
    line: Proxies, lossy: str, at: Any, order: str, paid: Callable[[str], list[str]]
) -> None:
    client = at(lossy, answer_s=0.2, give_up_s=0.5)
    line.arm(Fault(link="api", kind="swallow", direction="to_client", times=0, on=Trigger(event="POST", at="answer")))
    assert isinstance(pay(client, order), example.Unknown)
    line.heal()
    assert len(paid(order)) == 1, "unknown is not failed"
    outcome = client.resume()[order]
    assert outcome.replayed
    assert paid(order) == [outcome.document["id"]]
    assert client.resume() == {}


def test_several_who_want_the_same_pay_once(api: str, at: Any, order: str, paid: Callable[[str], list[str]]) -> None:
    clients = [at(api) for _ in range(4)]
    with ThreadPoolExecutor(len(clients)) as pool:
        outcomes = list(pool.map(lambda client: pay(client, order), clients))
    assert {outcome.document["id"] for outcome in outcomes} == set(paid(order))
    assert len(paid(order)) == 1


# --- what is refused


def test_a_refusal_is_kept(api: str, at: Any, order: str, paid: Callable[[str], list[str]]) -> None:
    refused = pay(at(api), order, currency="XXX")
    assert (refused.status, refused.code) == (422, "unprocessable")
    nowhere = at("http://127.0.0.1:1")
    assert pay(nowhere, order, currency="XXX") == refused
    with pytest.raises(example.ChangedIntentError, match=order):
        pay(nowhere, order)
    assert paid(order) == []


def test_a_token_that_is_no_longer_good_is_replaced_once(api: str, at: Any, order: str, token: Any) -> None:
    stale = token("acme")[:-4] + "AAAA"
    assert isinstance(pay(at(api, token=stale), order), example.Ok)


class Powerless:
    """Gives tokens that may do nothing."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.forgotten = 0

    def current(self) -> str:
        return self._token

    def forget(self, _refused: str) -> None:
        self.forgotten += 1


@pytest.mark.parametrize("bad", ["invalid", "powerless"])
def test_a_caller_who_is_turned_away_has_ended_no_intent(
    bad: str, api: str, at: Any, order: str, token: Any, tmp_path: Path, paid: Callable[[str], list[str]]
) -> None:
    tokens = Powerless("x.y.z" if bad == "invalid" else token("acme", scopes=["payments:read"]))
    intents = example.Intents(tmp_path / "intents.sqlite")
    with httpx.Client(base_url=api, trust_env=False) as http, closing(intents):
        turned_away = example.Client(http, tokens, intents)
        assert pay(turned_away, order).status == (401 if bad == "invalid" else 403)
        assert tokens.forgotten == (1 if bad == "invalid" else 0)
        # The attempt before may have got through: to be turned away now no longer says that nothing happened.
        assert isinstance(pay(turned_away, order), example.Unknown)
    assert paid(order) == []
    outcome = pay(at(api), order)
    assert paid(order) == [outcome.document["id"]]


def test_what_is_too_old_is_not_sent(
    api: str, at: Any, order: str, tmp_path: Path, paid: Callable[[str], list[str]]
) -> None:
    client = at("http://127.0.0.1:1", give_up_s=0.1)
    assert isinstance(pay(client, order), example.Unknown)
    with closing(sqlite3.connect(tmp_path / "intents.sqlite", isolation_level=None)) as intents:
        long_ago = (datetime.now(UTC) - timedelta(hours=49)).isoformat()
        intents.execute("UPDATE intents SET created_at = ?", [long_ago])
    assert "too old" in at(api).resume()[order].reason
    assert paid(order) == []


# --- the rest of a client's half


def test_a_change_is_made_on_what_somebody_else_has_changed(api: str, at: Any, order: str) -> None:
    client = at(api)
    path = f"/v1/payments/{pay(client, order).document['id']}"
    versions = []

    def wanted(payment: dict[str, Any]) -> dict[str, Any]:
        versions.append(payment["description"])
        if len(versions) == 1:
            other = client.change(path, lambda _payment: {"description": "theirs"})
            assert isinstance(other, example.Ok)
        return {} if payment["metadata"].get("ours") == "1" else {"metadata": {"ours": "1"}}

    changed = client.change(path, wanted)
    assert versions == [None, "theirs"]
    assert (changed.document["description"], changed.document["metadata"]) == ("theirs", {"ours": "1"})
    assert client.change(path, wanted).etag == changed.etag


def test_a_change_whose_answer_is_lost_is_found_done(line: Proxies, lossy: str, at: Any, order: str) -> None:
    client = at(lossy)
    path = f"/v1/payments/{pay(client, order).document['id']}"
    number = line.arm(Fault(link="api", kind="reset", on=Trigger(event="PATCH", at="answer")))
    changed = client.change(path, lambda payment: {} if payment["description"] == "ours" else {"description": "ours"})
    assert line.fired(number)
    assert changed.document["description"] == "ours"


def test_it_is_canceled_once_and_not_given_back(api: str, at: Any, order: str) -> None:
    client = at(api)
    payment_id = pay(client, order).document["id"]
    canceled = client.cancel(f"cancel-{order}", payment_id)
    assert canceled.document["status"] == "canceled"
    assert client.cancel(f"cancel-{order}", payment_id).document == canceled.document
    assert client.refund(f"refund-{order}", payment_id, amount=1).code == "not-refundable"


class Time:
    """A clock that a sleep moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_pauses_double_up_to_a_bound_and_end_in_time() -> None:
    time = Time()
    waiting = example.Patience(30, sleep=time.sleep, clock=lambda: time.now, draw=lambda _low, high: high).begin()
    while waiting.again(0.0):
        pass
    assert time.slept == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert time.now <= 30


def test_what_the_server_asks_for_is_waited_and_never_at_the_same_moment() -> None:
    time = Time()
    waiting = example.Patience(30, sleep=time.sleep, clock=lambda: time.now).begin()
    assert waiting.again(5.0)
    assert 5.0 <= time.slept[0] <= 5.2
    assert not waiting.again(3600.0), "an hour is more than anybody waits for an answer"
    assert len(time.slept) == 1


def test_retry_after_is_read_in_both_forms() -> None:
    read = example.patience.retry_after_s
    assert [read(text) for text in (None, "7", "", "soon", "-1", "²")] == [0.0, 7.0, 0.0, 0.0, 0.0, 0.0]
    assert 50 < read(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)) <= 60
    assert read(format_datetime(datetime.now(UTC) - timedelta(seconds=60), usegmt=True)) == 0.0
