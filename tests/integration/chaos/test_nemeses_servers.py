"""Does each nemesis of a server, a group or a key strike and heal on real servers, and is the stack over it?"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.drain import drain
from paidonce.chaos.nemeses import KINDS
from paidonce.chaos.schedule import Planned
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Seconds for a busy machine; a quiet one takes some.
OVER_S = 90.0


@dataclass
class World:
    """A stack under a steady load."""

    arena: Arena
    accepted: int = 0

    @property
    def stack(self) -> Stack:
        return self.arena.stack

    def pay(self, stop: threading.Event) -> None:
        """Pay until told to stop; what is not accepted is not asked again."""
        headers = {"Authorization": f"Bearer {self.stack.token(ttl=3600)}"}
        body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}
        with httpx.Client(trust_env=False, timeout=5.0, headers=headers) as client:
            while not stop.wait(0.05):
                try:
                    answer = client.post(
                        self.stack.addresses.api + "/v1/payments", json=body, headers={"Idempotency-Key": str(uuid4())}
                    )
                except httpx.TransportError:
                    continue
                assert answer.status_code < 500 or answer.status_code == 503, answer.text
                self.accepted += answer.status_code == 201

    def goes_on(self, more: int = 5) -> None:
        """Wait until so many more payments are accepted."""
        wanted = self.accepted + more
        until(lambda: self.accepted >= wanted, within_s=OVER_S, what=f"{more} more payments")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Stack(disk_mb=384) as stack:
        world, stop = World(Arena(stack, tmp_path_factory.mktemp("nemeses"))), threading.Event()
        thread = threading.Thread(target=world.pay, args=[stop], daemon=True)
        thread.start()
        world.goes_on()
        yield world
        stop.set()
        thread.join()


def planned(kind: str, target: str) -> Planned:
    return Planned(number=1, kind=kind, target=target, at_s=0.0)


@pytest.mark.parametrize(
    ("kind", "target", "saw"),
    [
        ("full-disk", "postgres", "No space left on device"),
        ("crash-broker", "kafka-1", "kafka-1, pid"),
        ("crash-controller", "controller", "kafka-1, which led the controllers, died"),
        ("delete-offsets", "consumer-ledger", "of payments-ledger are gone"),
        ("rebalances", "consumer-charges", "strangers joined payments-charges and left"),
        ("crash-valkey", "valkey", "died, with every counter and cart"),
        ("rotate-keys", "issuer", "every replica takes tokens of both"),
        ("away", "issuer", "ended"),
    ],
)
def test_it_is_seen_to_strike_it_heals_and_everything_becomes_final(
    world: World, kind: str, target: str, saw: str
) -> None:
    # Deleted offsets were committed first.
    world.goes_on()
    with KINDS[kind](world.arena, planned(kind, target)) as seen:
        assert saw in seen
    world.stack.wait_ready(within_s=OVER_S)
    world.goes_on()
    assert world.stack.pids().keys() >= {"postgres", "kafka", "valkey"}


def test_after_all_of_them_nothing_is_left_and_every_payment_was_captured(world: World) -> None:
    world.goes_on()
    # Under the load that goes on, the old ones become final.
    with psycopg.connect(world.stack.addresses.dsn, autocommit=True) as connection:
        row = connection.execute("SELECT now()").fetchone()
        assert row is not None
        old = "SELECT count(*) FROM payments WHERE created_at < %s AND status <> 'captured'"

        def all_captured() -> bool:
            found = connection.execute(old, row).fetchone()
            return found == (0,)

        until(all_captured, within_s=OVER_S, what="every earlier payment to be captured")


@pytest.mark.parametrize(
    ("kind", "target", "why"),
    [
        ("crash-broker", "kafka-2", "is none of ours: kafka-1"),
        ("delete-offsets", "relay", "there is no consumer 'relay'"),
        ("rebalances", "consumer-nobody", "there is no consumer 'consumer-nobody'"),
    ],
)
def test_what_is_not_there_did_not_fire_and_says_why(world: World, kind: str, target: str, why: str) -> None:
    with pytest.raises(DidNotFireError, match=why), KINDS[kind](world.arena, planned(kind, target)):
        pass


def test_a_disk_that_is_not_the_databases_own_is_never_filled(tmp_path: Path) -> None:
    with Stack(durable=False) as stack:
        arena = Arena(stack, tmp_path)
        with (
            pytest.raises(DidNotFireError, match="has no disk_mb"),
            KINDS["full-disk"](arena, planned("full-disk", "")),
        ):
            pass
        assert drain(stack.addresses.dsn, lambda _: None).stuck == {}
