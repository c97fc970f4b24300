"""What the facts make of a trail: pure, so the cases that no database gets into easily are here."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from paidonce.app.clock import new_id
from paidonce.app.idempotency.store import Kept as Key
from paidonce.app.messaging.effects import Kept, Line
from paidonce.app.messaging.outbox import Appended
from paidonce.app.messaging.relayed import Relayed
from paidonce.app.payments.model import Payment
from paidonce.app.trail.deliveries import OURS
from paidonce.app.trail.facts import Facts, Missing, Place
from paidonce.app.trail.model import STAGES, trail_document
from paidonce.app.trail.outside import SAID_CHARS_MAX
from paidonce.app.trail.trail import assemble
from paidonce.workers.consumer import SUBSCRIBERS

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID, MESSAGE, EFFECT = new_id(), new_id(), new_id()
ACCEPTED = Appended(7, "900", 1, MESSAGE, "payment.accepted", 1, T0, is_copy=False, trace_id=None)
WINDOW = Relayed(3, 1, T0 + timedelta(seconds=1), None, is_followed=False, is_later=False)
SENT = WINDOW._replace(is_followed=True)
PAYMENT = Payment(id=ID, tenant="acme", amount=5, currency="EUR", payment_method="pm_1", created_at=T0, updated_at=T0)
GOT = {(name, MESSAGE): T0 + timedelta(seconds=2) for name in OURS}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def facts(**changed: Any) -> Facts:
    """A pending payment whose acceptance everybody has got."""
    values: dict[str, Any] = {
        "payment": PAYMENT,
        "refunds": [],
        "keys": [Key("POST /v1/payments", "k", str(ID), T0, at(60), has_answer=True)],
        "events": [ACCEPTED],
        "windows": {7: SENT},
        "consumers": dict.fromkeys(OURS),
        "arrivals": GOT,
        "parked": [],
        "letters": [],
        "effects": [],
        "history": [],
        "booked": [],
        "wished": None,
        "topic": "payments",
        "by_cdc": False,
        "outbox_from": date(2026, 11, 20),
        "keys_kept": timedelta(days=33),
        "read_at": at(100),
        "complete": True,
    }
    return Facts(**values | changed)


def gaps(found: Facts, places: dict[UUID, Place | Missing] | None = None) -> list[str]:
    return [entry.what for entry in assemble(found, places).gaps]


def test_a_whole_path_has_no_gap_and_is_in_order() -> None:
    found = assemble(facts())
    assert found.gaps == ()
    order = [(entry.at, STAGES.index(entry.stage)) for entry in found.entries]
    assert order == sorted(order)
    assert [entry.stage for entry in found.entries][:4] == ["request", "commit", "event", "window"]
    assert trail_document(found)["gaps"] == 0


def test_a_long_history_is_gone_through_once() -> None:
    """The API reads trails on its event loop: 250 refunds of one cent held it up for a second."""

    class Counted(dict[Any, Any]):
        passes = 0

        def __iter__(self) -> Iterator[Any]:
            self.passes += 1
            return super().__iter__()

    ids = [new_id() for _ in range(20)]
    events = [ACCEPTED._replace(id=id_, position=n, txid=str(n)) for n, id_ in enumerate(ids)]
    arrivals = Counted({("ledger", id_): at(2) for id_ in ids})
    found = facts(events=events, windows=dict.fromkeys(range(20), WINDOW), arrivals=arrivals)
    assert [one for one in assemble(found).entries if one.stage == "inbox"]
    assert arrivals.passes == 1
    assert found.typed is found.typed


def test_our_consumers_are_those_of_the_workers() -> None:
    assert {name: one.types for name, one in SUBSCRIBERS.items()} == OURS


@pytest.mark.parametrize(
    ("window", "published"),
    [
        (WINDOW, False),
        (WINDOW._replace(published=at(3)), True),
        (WINDOW._replace(is_followed=True), True),
        (WINDOW._replace(is_later=True), True),
    ],
    ids=["the newest", "its shard was idle", "another came after it", "it is removed"],
)
def test_what_is_published_for_certain_is_missed_by_whoever_has_not_got_it(window: Relayed, published: bool) -> None:
    missed = {"charges has not got payment.accepted", "ledger has not got payment.accepted"}
    found = set(gaps(facts(windows={7: window}, arrivals={})))
    assert (missed <= found) == published
    assert ("in a window that is not known to be published: payment.accepted" in found) == (not published)


@pytest.mark.parametrize(
    ("place", "said", "gap", "removed"),
    [
        (Place(2, 41, at(3)), "on the topic: payment.accepted", False, False),
        (Missing("removed", 0), "payment.accepted was removed from the topic by retention", False, True),
        (Missing("not_found", 9), "payment.accepted is not among the 9 records of its time on the topic", True, False),
    ],
)
def test_a_place_on_the_topic(place: Place | Missing, said: str, gap: bool, removed: bool) -> None:
    [entry] = [one for one in assemble(facts(), {MESSAGE: place}, "looked").entries if one.stage == "topic"]
    assert (entry.what, entry.gap, entry.removed) == (said, gap, removed)


def test_a_message_that_was_seen_on_the_topic_was_published() -> None:
    newest = facts(windows={7: WINDOW}, arrivals={})
    assert gaps(newest) == ["in a window that is not known to be published: payment.accepted"]
    assert "ledger has not got payment.accepted" in gaps(newest, {MESSAGE: Place(2, 41, at(3))})


def test_an_answer_that_expired_and_a_key_that_should_be_there() -> None:
    tombstone = facts(keys=[Key("POST /v1/payments", "k", str(ID), T0, at(60), has_answer=False)])
    assert "POST /v1/payments under a key: its answer has expired, and it is refused" in [
        entry.what for entry in assemble(tombstone).entries
    ]
    assert gaps(facts(keys=[])) == ["no key has made the payment"]
    assert gaps(facts(keys=[], keys_kept=timedelta(seconds=99))) == []


def effect(state: str, lines: list[tuple[str, str, dict[str, Any]]], kind: str = "charge") -> dict[str, Any]:
    kept = Kept(EFFECT, kind, str(ID), state, len(lines), None, at(3), at(90))
    history = [Line(EFFECT, event, after, detail, at(4 + n)) for n, (event, after, detail) in enumerate(lines)]
    return {"payment": replace(PAYMENT, status="charging"), "effects": [kept], "history": history}


SILENCE = ("answered", "unknown", {"asked": "call", "answer": "NoAnswer", "reason": "time limit"})
CLAIMED = ("claimed", "running", {"attempt": 1, "was": "pending"})


@pytest.mark.parametrize(
    ("state", "lines", "since", "said"),
    [
        ("unknown", [CLAIMED, SILENCE], 5, "nobody knows what came of it"),
        ("unknown", [CLAIMED, SILENCE, CLAIMED, SILENCE], 5, "nobody knows what came of it"),
        ("running", [CLAIMED, SILENCE, CLAIMED], 5, "nobody knows what came of it"),
        ("running", [CLAIMED, ("lease_lost", "unknown", {}), CLAIMED], 5, "nobody knows what came of it"),
        ("running", [("created", "pending", {}), CLAIMED], 3, "it has not come to its end"),
        ("pending", [("created", "pending", {})], 3, "it has not come to its end"),
    ],
)
def test_an_effect_that_has_not_ended(state: str, lines: list[Any], since: float, said: str) -> None:
    [gap] = [entry for entry in assemble(facts(**effect(state, lines))).gaps if entry.stage == "effect"]
    assert (gap.what, gap.at) == (f"charge: {said}", at(since))


def test_what_the_other_side_says_is_one_line_of_bounded_length() -> None:
    said = ("answered", "refused", {"asked": "look_up", "answer": "Refused", "code": "\x1b[31mred\n" + "x" * 999})
    [line] = [one for one in assemble(facts(**effect("refused", [said]))).entries if "looked up" in one.what]
    assert line.what.isprintable()
    assert len(line.what) < SAID_CHARS_MAX + 60
    assert line.what.startswith("charge: looked up, the answer was Refused (?[31mred?xxx")


def test_every_line_of_a_history_is_told() -> None:
    lines = [("created", "pending", {}), CLAIMED, ("lease_lost", "unknown", {}), ("redriven", "pending", {})]
    told = [entry.what for entry in assemble(facts(**effect("done", lines))).entries if entry.stage == "effect"]
    assert told == [
        "charge: is to be sent",
        "charge: attempt 1 began",
        "charge: the worker was gone in mid-attempt: unknown",
        "charge: is to be sent again: an operator's decision",
    ]


@pytest.mark.parametrize(("since", "missed"), [(None, True), (at(-1), True), (at(1), False)])
def test_a_consumer_misses_only_what_came_after_it_counted(since: datetime | None, missed: bool) -> None:
    found = facts(consumers=dict.fromkeys(OURS) | {"mine": since})
    assert gaps(found) == (["mine has not got payment.accepted"] if missed else [])


@pytest.mark.parametrize(
    ("wished", "missing"),
    [
        (None, False),
        ((None, at(-1)), True),
        (("payment.accepted",), True),
        (("payment.captured",), False),
        ((None, at(9)), False),
    ],
    ids=["no endpoint", "all", "this one", "another", "the endpoint came later"],
)
def test_a_webhook_that_was_wanted_and_never_made(wished: Any, missing: bool) -> None:
    wish = (wished, at(-1)) if wished is not None and isinstance(wished[0], str) else wished
    said = ["webhook: there is none for payment.accepted, which the tenant wants"] if missing else []
    assert gaps(facts(wished=wish)) == said


def test_a_charge_that_nobody_sent() -> None:
    charging = facts(payment=replace(PAYMENT, status="charging"))
    assert gaps(charging) == ["charge: the payment is charging, and nothing was sent"]
    assert gaps(facts(payment=replace(PAYMENT, status="canceled"))) == ["no event payment.canceled was committed"]


@pytest.mark.parametrize(("outbox_from", "missing"), [(date(2026, 11, 23), True), (date(2026, 11, 24), False)])
def test_an_event_is_missing_while_its_day_is_there(outbox_from: date, missing: bool) -> None:
    [entry] = [one for one in assemble(facts(events=[], outbox_from=outbox_from)).entries if one.stage == "event"]
    assert (entry.gap, entry.removed) == (missing, not missing)


def test_who_has_the_event_has_not_got_its_copy() -> None:
    copy = ACCEPTED._replace(position=9, is_copy=True)
    copied = facts(events=[ACCEPTED, copy], windows={7: SENT, 9: WINDOW})
    assert gaps(copied) == ["in a window that is not known to be published: payment.accepted, a replay's copy"]
