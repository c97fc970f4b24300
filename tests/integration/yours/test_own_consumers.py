"""A consumer of one's own handlers is a consumer: inbox, parked keys, dead letters, every list of an operator."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from pydantic import BaseModel
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from paidonce import Done, Message, Poison, RetryLater, handler, outbox
from paidonce.app.audit import By
from paidonce.app.clock import SystemClock
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import partitions, readers
from paidonce.app.yours import handlers
from paidonce.app.yours.handlers import MARK
from paidonce.workers import brake, dead_letters, doctor_checks, forgetting, readings, status
from paidonce.workers.holds import Holds

BY = By("ann", "command line", "a test")

CONTRACT = Path(__file__).parents[3] / "docs/outbox-contract.md"
RESERVED = "SELECT id FROM shop.reserved ORDER BY position"


class OrderPlaced(BaseModel):
    order: str
    item: str


def insert(tx: Connection, placed: OrderPlaced) -> None:
    tx.execute(text("INSERT INTO shop.reserved (id, item) VALUES (:order, :item)"), placed.model_dump())


def subscriber(function, event_type: str, name: str = "stock"):
    return handlers.subscriber(name, getattr(handler(event_type, consumer=name)(function), MARK))


def place(shop, *orders: str, item: str = "tea") -> list[str]:
    with shop.bind.begin() as tx:
        placed = [OrderPlaced(order=order, item=item) for order in orders]
        return [str(outbox.append(tx, f"{shop.about}.placed", one.order, one)) for one in placed]


@pytest.fixture
def later() -> set[str]:
    """Orders that are not to be reserved yet."""
    return set()


@pytest.fixture
def stock(shop, later):
    """A handler that parks some, refuses ink, ends the transaction for milk, and reserves the rest."""

    def reserve(tx: Connection, placed: OrderPlaced, message: Message) -> Done | RetryLater | Poison:
        insert(tx, placed)
        if placed.order in later:
            return RetryLater(timedelta(), "not yet")
        if placed.item == "ink":
            return Poison("we sell no ink")
        if placed.item == "milk":
            with Session(tx) as session:
                session.execute(text("SELECT 1"))
                session.rollback()
        if placed.item == "butter":
            tx.commit()
        return Done()

    return subscriber(reserve, f"{shop.about}.placed")


def test_each_event_is_done_once_and_those_of_a_key_in_order(shop, stock, later) -> None:
    later.add("o-1")
    place(shop, "o-1", "o-2", "o-3")
    place(shop, "o-1", "o-2")
    shop.member(stock, consumer_batch=2)
    shop.until(lambda: shop.column("SELECT count(*) FROM inbox") == [5])
    assert sorted(shop.column(RESERVED)) == ["o-2", "o-2", "o-3"]
    assert shop.column("SELECT key FROM parked") == ["o-1", "o-1"], "and whoever comes after it"
    later.clear()
    shop.until(lambda: len(shop.column(RESERVED)) == 5)
    assert shop.column("SELECT count(*) FROM inbox WHERE consumer = 'stock'") == [5]


@pytest.mark.parametrize("item", [pytest.param("ink", marks=pytest.mark.slow), "butter"])
def test_poison_is_a_dead_letter_that_can_be_redriven_and_its_neighbours_are_done(shop, stock, item) -> None:
    place(shop, "o-1")
    [bad] = place(shop, "o-2", item=item)
    place(shop, "o-3")
    shop.member(stock)
    shop.until(lambda: shop.column(RESERVED) == ["o-1", "o-3"] and shop.rows("SELECT 1 FROM dead_letters") != [])
    [letter] = dead_letters.listed(shop.bind, shop.settings, consumer="stock", state="dead", limit=9)
    assert letter.message_id == bad
    assert {"ink": "we sell no ink", "butter": "must not end the transaction"}[item] in letter.reason
    assert dead_letters.redrive(shop.bind, shop.settings, letter.id, BY).done == "stock works on it again"


def test_a_session_that_rolls_back_takes_nobody_elses_work_along(shop, stock) -> None:
    place(shop, "o-1", "o-1")
    place(shop, "o-1", item="milk")
    place(shop, "o-1")
    shop.member(stock)
    shop.until(lambda: shop.column("SELECT count(*) FROM inbox") == [4])
    assert shop.rows("SELECT item FROM shop.reserved ORDER BY position") == [("tea",), ("tea",), ("milk",), ("tea",)]


@pytest.mark.slow
def test_the_operator_sees_it_as_any_other(shop, stock) -> None:
    topic = f"{shop.about}s"
    place(shop, "o-1")
    shop.member(stock)
    shop.until(lambda: shop.column(RESERVED) == ["o-1"])
    with shop.bind.connect() as tx:
        assert readings.topics_read(tx, shop.settings) == {"stock": topic}
    [seen] = [one for one in status.read(shop.settings).consumers if one.name == "stock"]
    assert (seen.topic, seen.lag is not None and seen.lag <= 6, seen.parked) == (topic, True, 0)
    with pytest.raises(brake.NotEngagedError, match="consumer stock does not stand still"):
        brake.release(shop.bind, shop.settings, "stock", BY)
    with shop.bind.begin() as tx:
        readers.note(tx, topic, ["stock"])
    with pytest.raises(ConfigurationError, match="consumer stock still runs"):
        forgetting.forget(shop.settings, "stock")
    shop.members.pop().close()
    forgetting.forget(shop.settings, "stock")
    with shop.bind.connect() as tx:
        assert readings.topics_read(tx, shop.settings) == {}
        assert readers.known(tx, topic) == {}


@pytest.mark.slow
def test_a_bad_deploy_stops_it_until_somebody_lets_it_go(shop, stock) -> None:
    place(shop, *(f"o-{n}" for n in range(6)), item="ink")
    shop.member(stock, brake_window=4)
    shop.until(lambda: shop.column("SELECT consumer FROM brakes") == ["stock"])
    assert shop.column("SELECT count(*) < 6 FROM dead_letters") == [True]
    brake.release(shop.bind, shop.settings, "stock", BY)
    shop.until(lambda: shop.column("SELECT count(*) FROM dead_letters") == [6])


@pytest.mark.slow
def test_a_day_stays_in_the_outbox_until_it_was_read_and_the_inbox_fits_its_topic(shop, stock) -> None:
    place(shop, "o-1")
    member = shop.member(stock)
    shop.until(lambda: shop.column(RESERVED) == ["o-1"])
    shop.members.remove(member)
    member.close()
    today = shop.column("SELECT (now() AT TIME ZONE 'UTC')::date")[0]
    with shop.bind.begin() as tx:
        readers.note(tx, f"{shop.about}s", ["stock"])
        tx.execute(text("UPDATE readers SET since = now() - interval '1 day'"))
    place(shop, "o-2")
    shop.until(lambda: shop.column("SELECT max(number) FROM relay_windows") == [2])

    def holds() -> Holds:
        return Holds(shop.settings, shop.bind, now=datetime.now(UTC), clock=SystemClock())

    kept = holds()._of_consumers(today, partitions.midnight(today + timedelta(days=1)))
    assert (kept.why, "consumer stock has read to" in kept.said) == ("consumer", True)
    shop.member(stock)
    shop.until(lambda: shop.column(RESERVED) == ["o-1", "o-2"])
    shop.until(lambda: holds()._of_consumers(today, partitions.midnight(today + timedelta(days=1))) is None)
    keep_for_ever(shop)
    assert f"topic {shop.about}s keeps records for ever" in holds()._of_topic(None).said
    with pytest.raises(ConfigurationError, match=f"topic {shop.about}s keeps records for ever"):
        doctor_checks.kafka(shop.settings)


def keep_for_ever(shop) -> None:
    admin = KafkaAdminClient(bootstrap_servers=shop.settings.kafka)
    resource = ConfigResource(ConfigResourceType.TOPIC, f"{shop.about}s", {"retention.ms": "-1"})
    admin.alter_configs([resource])
    admin.close()


@pytest.mark.slow
def test_it_may_start_before_its_first_event_and_makes_its_topic(shop, stock) -> None:
    member = shop.member(stock)
    shop.until(lambda: member.joined)
    place(shop, "o-1")
    shop.until(lambda: shop.column(RESERVED) == ["o-1"])


@pytest.mark.slow
def test_a_payment_of_paidonces_own_may_be_handled_too(shop) -> None:
    got = []

    def note(tx: Connection, message: Message) -> Done:
        got.append(message.key)
        return Done()

    assert shop.member(subscriber(note, "payment.captured", "receipts")).topic == shop.settings.topic


def test_the_statement_of_the_contract_reaches_the_handler(shop) -> None:
    statement = re.search(r"```sql\n(.*?)```", CONTRACT.read_text(), re.DOTALL)[1]
    with shop.bind.connect() as tx:
        tx.connection.driver_connection.autocommit = True
        tx.connection.driver_connection.execute(statement.replace("'order", f"'{shop.about}").encode())

    def reserve(tx: Connection, placed: OrderPlaced) -> Done:
        insert(tx, placed)
        return Done()

    shop.member(subscriber(reserve, f"{shop.about}.placed"))
    shop.until(lambda: shop.rows("SELECT id, item FROM shop.reserved") == [("o-1", "tea")])
