"""The whole stack behind the proxy: is each payment there once, and charged once, whatever answer is lost?"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import uuid4

import httpx
import psycopg
import pytest

from paidonce.app.db import WORKER_ANSWER_S
from paidonce.chaos import tables, witnesses
from paidonce.chaos.nemeses.network import network
from paidonce.chaos.proxy.client import NotFiredError, Proxies
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Seconds for a client that asks again and again, and for a payment's whole way: seconds on a quiet machine.
INSISTS_S, FINAL_S = 60.0, 60.0
#: Seconds that all processes together may take over it: some sessions of 2 s, and less than kafka-python's own 30 s.
SILENT_S = 25.0
#: Payments until the fault struck: the first or second meets it.
PAYMENTS_MOST = 200


@dataclass
class World:
    """The stack, its proxy, and a client that insists."""

    stack: Stack
    proxies: Proxies
    http: httpx.Client
    folder: Path
    struck: Event = field(default_factory=Event)
    accepted: int = 0

    def pay_until_struck(self) -> list[str]:
        """Pay again and again until the fault struck; returns the payments' ids."""
        self.struck.clear()
        paid = [self.pay()]
        while not self.struck.is_set() and len(paid) < PAYMENTS_MOST:
            paid.append(self.pay())
        return paid

    def pay(self) -> str:
        """Pay once under one key, asked again until it is accepted; returns the payment's id."""
        key, found = str(uuid4()), list[str]()
        body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}

        def accepted() -> bool:
            try:
                answer = self.http.post("/v1/payments", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                return False
            if answer.status_code == 201:
                found.append(answer.json()["id"])
            return bool(found)

        until(accepted, within_s=INSISTS_S, what="a payment to be accepted")
        self.accepted += 1
        return found[0]

    def is_final(self) -> bool:
        with tables.connect(self.stack.addresses.dsn) as connection:
            return not tables.unfinished(connection)

    def captures(self, payment: str) -> int:
        """How often the provider's journal has it."""
        copy = self.folder / f"{uuid4()}.sqlite"
        witnesses.copy_journal(Path(self.stack.addresses.journal), copy)
        charges = witnesses.journal(copy)["charges"]
        return sum(one.reference == payment and one.status == "captured" for one in charges)

    def payments(self) -> int:
        with psycopg.connect(self.stack.addresses.dsn) as connection:
            found = connection.execute("SELECT count(*) FROM payments").fetchone()
        assert found is not None
        return int(found[0])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Proxies() as proxies, Stack(durable=False, detour=proxies.detour) as stack:
        headers = {"Authorization": f"Bearer {stack.token(ttl=3600)}"}
        # Shorter than any silence here, so that the client asks again during it.
        client = httpx.Client(base_url=stack.addresses.api, headers=headers, timeout=2.0, trust_env=False)
        with client as http:
            yield World(stack, proxies, http, tmp_path_factory.mktemp("journals"))


@pytest.mark.parametrize(
    ("kind", "target", "args"),
    [
        ("lost_accept", "postgres", {}),
        ("lost_accept", "postgres", {"how": "swallow"}),
        ("lost_commit", "postgres", {"match": "INSERT INTO inbox"}),
        ("lost_commit", "postgres", {"match": "effects", "nth": 2}),
        ("lost_produce", "kafka-1", {"match": "paidonce-relay"}),
        ("lost_end_txn", "kafka-1", {"match": "paidonce-relay"}),
        ("lost_end_txn", "kafka-1", {"match": "paidonce-relay", "how": "swallow"}),
        ("lost_charge", "provider", {}),
        ("lost_charge", "provider", {"how": "swallow"}),
        ("lost_answer", "api-1", {"event": "POST", "match": "/v1/payments"}),
        ("half_open", "kafka-1", {}),
        ("half_open", "postgres", {}),
        ("refused", "postgres", {}),
        ("reset_storm", "postgres", {"times": 10}),
        ("slow", "kafka-1", {}),
    ],
)
def test_a_payment_is_made_once_whatever_answer_is_lost(
    world: World, kind: str, target: str, args: dict[str, object]
) -> None:
    before = world.payments()
    with ThreadPoolExecutor(1) as threads:
        # It pays before the fault is armed or after: only traffic of its own, or of the idle stack, meets it.
        paying = threads.submit(world.pay_until_struck)
        with network(kind, world.proxies, target, args):
            if args.get("how") == "swallow":
                # The silence lasts, and what is asked again goes on over other connections.
                so_far = world.accepted
                until(lambda: world.accepted > so_far, within_s=INSISTS_S, what="a payment during the silence")
            world.struck.set()
        paid = paying.result()
    until(world.is_final, within_s=FINAL_S, what="everything to be final")
    assert world.payments() == before + len(paid)
    assert {payment: world.captures(payment) for payment in paid} == dict.fromkeys(paid, 1)


def test_every_event_is_on_the_topic_once(world: World) -> None:
    """After whatever the tests before it have lost, in any order; by itself after one payment."""
    world.pay()
    until(world.is_final, within_s=FINAL_S, what="everything to be final")
    topic = witnesses.topic(world.stack.addresses.kafka, world.stack.settings.topic)
    counted = Counter(record.message_id for record in topic)
    with tables.connect(world.stack.addresses.dsn) as connection:
        events = {event.id for event in tables.tables(connection)["events"]}
    assert counted == dict.fromkeys(events, 1)


def test_brokers_that_fell_silent_are_asked_anew_within_seconds(world: World) -> None:
    """Each connection that there is hears nothing more, as when its broker hangs; new ones are well."""
    with network("half_open", world.proxies, "kafka-1", {"scope": "connection"}):
        world.pay()
        until(world.is_final, within_s=SILENT_S, what="a payment to be final during the silence")


def test_a_database_that_fell_silent_is_hung_up_on(world: World) -> None:
    """Each connection that there is hears nothing more, as when a pooler hangs; new ones are well."""
    with network("half_open", world.proxies, "postgres", {"scope": "connection"}):
        paid = [world.pay() for _ in range(3)]
    until(world.is_final, within_s=FINAL_S + WORKER_ANSWER_S, what="everything to be final")
    assert {payment: world.captures(payment) for payment in paid} == dict.fromkeys(paid, 1)


def test_a_fault_that_meets_nothing_is_none(world: World) -> None:
    with (
        pytest.raises(NotFiredError, match="0 of 1"),
        network("lost_answer", world.proxies, "api-1", {"event": "DELETE"}, within_s=0.1),
    ):
        pass
