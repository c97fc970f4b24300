"""The shop under SIGKILL: every process in turn, the workers also where it hurts most; then the witnesses are asked.

None of these witnesses is code of the shop or of Paidonce: plain SQL, a Kafka reader, an SMTP server, the customers'
own notes of what they were answered.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from itertools import count
from pathlib import Path
from threading import Event, Thread

import httpx
import psycopg
import pytest
from aiosmtpd.controller import Controller

from paidonce.chaos import launch, witnesses
from paidonce.chaos.orders import Desk
from paidonce.chaos.strikes import Strike
from paidonce.devstack.ports import free_port
from paidonce.devstack.stack import Stack
from paidonce.devstack.supervisor import plainly
from paidonce.devstack.waiting import until
from paidonce.devstack.yours import Yours

ROOT = Path(__file__).parents[3]
#: As docs/own-workers.md has it.
COMMAND = "paidonce up --app shop.api:app --handlers shop.handlers --executors shop.receipts"
#: Seconds for what was begun to end, on a busy machine.
BOUND_S = 90.0
#: Orders that are acknowledged between two kills.
BETWEEN = 15
#: Seconds between two orders of one customer: thousands of them would show nothing more.
PAUSE_S = 0.03
#: Who orders while everything is killed; the other tests' customers are asked about nowhere in that one.
WHO = ("ann", "bob")
THEIRS = f"(SELECT id FROM shop.orders WHERE customer IN {WHO})"
#: Not of the shop's way, and no process of a worker.
OUTSIDE = {"provider", "issuer"}
TEA = 100_000
#: Where a worker has done a thing and not yet said so: whoever takes over must find out.
MOMENTS = [
    ("consumer-stock", "consumer.commit_offsets:before:kill"),
    ("consumer-stock", "consumer.commit:before:kill"),
    ("consumer-receipts", "consumer.commit_offsets:before:kill"),
    ("relay", "relay.add_number:after:kill"),
    ("relay", "relay.commit:after:kill"),
    ("effects-own", "effects.claim:after:kill"),
    ("effects-own", "effects.settle:before:kill"),
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass
class Mailbox:
    """An SMTP server that keeps what it took: recipient, Message-ID and text."""

    taken: list[tuple[str, str, str]] = field(default_factory=list)
    #: while it is set, what is taken is not answered
    silent: Event = field(default_factory=Event)

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802  the library's name
        mail = message_from_bytes(envelope.content)
        self.taken.append((envelope.rcpt_tos[0], mail["Message-ID"], mail.get_payload()))
        while self.silent.is_set():
            await asyncio.sleep(0.02)
        return "250 taken"


@dataclass
class Customer:
    """Orders one thing after the other, each under a key of its own, until it is acknowledged; each is sent twice."""

    url: str
    name: str
    #: key -> order that was acknowledged
    acknowledged: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)

    def order(self) -> None:
        with httpx.Client(base_url=self.url, timeout=5, headers={"X-Customer": self.name}, trust_env=False) as client:
            for number in count():
                if self.stopped.is_set():
                    return
                key = f"{self.name}-{number}"
                self.acknowledged[key] = self.until_acknowledged(client, key)
                again = self.until_acknowledged(client, key)
                self.stopped.wait(PAUSE_S)
                if again != self.acknowledged[key]:
                    self.faults.append(f"{key}: {self.acknowledged[key]}, then {again}")

    def until_acknowledged(self, client: httpx.Client, key: str) -> str:
        wanted = {"email": f"{key}@mail.example", "item": "tea", "pieces": 2}
        for _ in range(1_000):
            try:
                answer = client.post("/orders", json=wanted, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                self.stopped.wait(0.05)
                continue
            if answer.status_code == 201:
                return answer.json()["id"]
            if answer.status_code not in {409, 503}:
                self.faults.append(f"{key}: {answer.status_code} {answer.text}")
            self.stopped.wait(0.05)
        raise AssertionError(f"{key} was never acknowledged")


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_SMTP", f"127.0.0.1:{controller.port}")
        yield box
    controller.stop()


@pytest.fixture(scope="module")
def desks(tmp_path_factory) -> dict[str, Desk]:
    """For each worker a folder of orders: who gets one kills itself at that moment."""
    made = {name: Desk(tmp_path_factory.mktemp(name)) for name, _ in MOMENTS}
    for desk in made.values():
        desk.open()
    return made


@pytest.fixture(scope="module")
def stack(mailbox, desks) -> Iterator[Stack]:
    def how(name: str) -> Sequence[str]:
        return launch.arguments(orders=desks[name].folder) if name in desks else plainly(name)

    page = (ROOT / "docs/own-workers.md").read_text()
    assert f"\n{COMMAND}\n" in page
    _, _, _, app, _, handlers, _, executors = COMMAND.split()
    yours = Yours(app, [handlers], [executors], folder=ROOT / "examples")
    with Stack(yours=yours, durable=False, launch=how) as started:
        yield started


def rows(stack: Stack, statement: str) -> list[tuple]:
    with psycopg.connect(stack.addresses.dsn) as tx:
        return tx.execute(statement).fetchall()


def open_orders(stack: Stack) -> int:
    still = f"id IN {THEIRS} AND (state = 'placed' OR NOT receipt_sent)"
    return rows(stack, f"SELECT count(*) FROM shop.orders WHERE {still}")[0][0]


def test_a_kill_of_every_process_in_turn_loses_and_doubles_nothing(stack, mailbox, desks) -> None:
    customers = [Customer(stack.addresses.app, name) for name in WHO]
    threads = [Thread(target=one.order, daemon=True) for one in customers]
    for thread in threads:
        thread.start()
    acknowledged = lambda: sum(len(one.acknowledged) for one in customers)  # noqa: E731  asked again and again
    names = [name for name in stack.names() if name not in OUTSIDE]
    assert {"app", "consumer-stock", "consumer-receipts", "effects-own", "relay", "cleaner"} <= set(names)
    for name in names:
        so_far, lives = acknowledged(), stack.restarts(name)
        until(lambda: acknowledged() >= so_far + BETWEEN, within_s=BOUND_S, what=f"orders before the kill of {name}")  # noqa: B023  called at once
        stack.kill(name)
        until(lambda: stack.restarts(name) > lives, within_s=BOUND_S, what=f"{name} to start again")  # noqa: B023
        stack.wait_ready(name)
    for number, (name, moment) in enumerate(MOMENTS):
        lives = stack.restarts(name)
        desks[name].give(number, Strike.parse(moment))
        until(lambda: bool(desks[name].struck([number])), within_s=BOUND_S, what=f"{name} to come by {moment}")  # noqa: B023
        until(lambda: stack.restarts(name) > lives, within_s=BOUND_S, what=f"{name} to start again")  # noqa: B023
        stack.wait_ready(name)
    for one in customers:
        one.stopped.set()
    for thread in threads:
        thread.join(timeout=BOUND_S)
        assert not thread.is_alive()
    assert [fault for one in customers for fault in one.faults] == []
    until(lambda: open_orders(stack) == 0, within_s=BOUND_S, what="every order to end")

    orders = {order for one in customers for order in one.acknowledged.values()}
    assert len(orders) == acknowledged() >= BETWEEN * len(names), "one order a key"
    assert {str(id_) for (id_,) in rows(stack, THEIRS)} == orders, "and none that nobody knows of"
    moved = Counter(
        str(id_) for (id_,) in rows(stack, f"SELECT order_id FROM shop.movements WHERE order_id IN {THEIRS}")
    )
    assert moved == Counter(orders), "each left the shelf once"
    to_others = f"SELECT coalesce(sum(pieces), 0) FROM shop.movements WHERE item = 'tea' AND order_id NOT IN {THEIRS}"
    left = rows(stack, f"SELECT pieces + ({to_others}) FROM shop.stock WHERE item = 'tea'")
    assert left == [(TEA - 2 * len(orders),)]
    others = {str(id_) for (id_,) in rows(stack, f"SELECT id FROM shop.orders WHERE id NOT IN {THEIRS}")}
    on_topic = witnesses.topic(stack.addresses.kafka, "orders")
    said = Counter((one.key, one.type) for one in on_topic if one.key not in others)
    assert said == Counter((order, type_) for order in orders for type_ in ("order.placed", "order.reserved"))
    mails = [mail for mail in mailbox.taken if mail[0].startswith(WHO)]
    assert {id_ for _, id_, _ in mails} == {f"<receipt-{order}@shop.example>" for order in orders}
    assert len({id_ for _, id_, _ in mails}) == len(set(mails)), "one Message-ID, one text and recipient"
    waiting = "SELECT key FROM parked UNION ALL SELECT key FROM dead_letters"
    assert [key for (key,) in rows(stack, waiting) if str(key) not in others] == []


def test_what_the_shop_does_not_sell_is_a_dead_letter_and_what_is_sold_out_is_said(stack) -> None:
    with httpx.Client(base_url=stack.addresses.app, headers={"X-Customer": "eve"}, trust_env=False) as client:

        def place(key: str, item: str, pieces: int = 2) -> httpx.Response:
            wanted = {"email": "eve@mail.example", "item": item, "pieces": pieces}
            return client.post("/orders", json=wanted, headers={"Idempotency-Key": key})

        def state(placed: httpx.Response) -> str:
            return client.get(f"/orders/{placed.json()['id']}").json()["state"]

        ink = place("eve-1", "ink", 4)
        until(lambda: state(ink) == "sold_out", within_s=BOUND_S, what="ink to be sold out")
        unknown = place("eve-2", "coal")
        until(
            lambda: rows(stack, "SELECT consumer, reason FROM dead_letters") == [("stock", "we do not sell coal")],
            within_s=BOUND_S,
            what="the dead letter",
        )
        assert state(unknown) == "placed"
        assert place("eve-1", "ink", 3).json()["code"] == "idempotency-key-reused"
        assert client.get(f"/orders/{ink.json()['id']}", headers={"X-Customer": "ann"}).status_code == 404


def test_the_limit_of_smtp_a_receipt_whose_answer_was_lost_comes_twice_under_one_message_id(stack, mailbox) -> None:
    mailbox.silent.set()
    with httpx.Client(base_url=stack.addresses.app, headers={"X-Customer": "kim"}, trust_env=False) as client:
        wanted = {"email": "kim@mail.example", "item": "tea", "pieces": 1}
        order = client.post("/orders", json=wanted, headers={"Idempotency-Key": "kim-1"}).json()["id"]
        receipts = lambda: [one for one in mailbox.taken if one[0] == "kim@mail.example"]  # noqa: E731  asked again and again
        until(lambda: bool(receipts()), within_s=BOUND_S, what="the receipt to be taken")
        stack.kill("effects-own")
        mailbox.silent.clear()
        shown = lambda: client.get(f"/orders/{order}").json()  # noqa: E731  likewise
        until(lambda: shown()["receipt_sent"], within_s=BOUND_S, what="the receipt to be known as sent")
    assert len(receipts()) >= 2
    assert {id_ for _, id_, _ in receipts()} == {f"<receipt-{order}@shop.example>"}
    assert len(set(receipts())) == 1
