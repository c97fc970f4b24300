"""A complete path has no gap, and each thing that is missing is one by its name, on a real PostgreSQL."""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import dead_letters, effects, parked, readers, starts
from paidonce.app.trail.model import trail_document
from paidonce.app.trail.trail import trail_of
from paidonce.app.webhooks import effect_kind, endpoints
from paidonce.workers import outbox_replay

SECRET = "whsec_" + "QUJD" * 10
URL = "https://shop.example/hook?token=abc"


def listen(story: Any, events: list[str] | None = None) -> None:
    """Give acme an endpoint."""
    with db.begin(story.bind) as tx:
        endpoints.put(tx, "acme", url=URL, secret=SECRET, events=events, private_addresses=False)


@pytest.fixture
def deaf(story: Any) -> Any:
    """acme has no endpoint."""
    with db.begin(story.bind) as tx:
        endpoints.remove(tx, "acme")
    return story


def captured(story: Any) -> None:
    story.publish()
    story.consume()
    story.charge()
    story.publish()
    story.consume()


def test_a_complete_path_has_every_stage_and_no_gap(deaf: Any) -> None:
    story = deaf
    listen(story, ["payment.captured"])
    captured(story)
    story.deliver("payment.captured")
    found = story.trail("acme")
    assert [entry.what for entry in found.gaps] == []
    assert (found.status, found.amount, found.currency, found.kafka) == ("captured", 1999, "EUR", "not_looked_for")
    assert Counter(entry.stage for entry in found.entries) == {
        "request": 1,
        "commit": 2,
        "event": 2,
        "window": 2,
        "inbox": 6,
        "effect": 3,
        "webhook": 3,
        "ledger": 1,
    }
    whats = [entry.what for entry in found.entries]
    in_order = [
        "POST /v1/payments under a key: its answer is kept",
        "in a window that was published: payment.accepted",
        "charges got payment.accepted",
        "charge: is to be sent",
        "charge: attempt 1 began",
        "charge: asked, the answer was Succeeded: done",
        "in a window that was published: payment.captured",
        "ledger got payment.captured",
        "webhook: asked, the answer was Succeeded: done",
    ]
    assert [what for what in whats if what in in_order] == in_order
    assert "booked a capture of 1999 EUR: provider_receivable to merchant_payable" in whats
    assert "charges passed over payment.captured" in whats
    assert [entry.at for entry in found.entries] == sorted(entry.at for entry in found.entries)


def test_its_ids_lead_on(deaf: Any) -> None:
    story = deaf
    captured(story)
    event = story.event()
    request = story.entry("POST /v1/payments under a key: its answer is kept").ids
    assert (request["key"], request["made"]) == (story.key, str(story.payment_id))
    assert story.entry("committed: payment.accepted").ids == {"transaction": event.txid}
    said = story.entry("event payment.accepted").ids
    assert (said["message_id"], said["position"], said["shard"], said["sequence"], said["trace_id"]) == (
        str(event.id),
        str(event.position),
        str(event.shard),
        "1",
        "ab" * 16,
    )
    window = story.entry("in a window that was published: payment.accepted").ids
    assert {"window", "epoch", "published", "shard", "message_id"} == set(window)
    assert story.entry("charge: asked, the answer was Succeeded: done").ids["provider_id"] == "ch_7"


def test_no_secret_and_no_word_about_the_customer_is_in_it(deaf: Any) -> None:
    listen(deaf)
    captured(deaf)
    with db.begin(deaf.bind) as tx:
        letter = {"key": str(deaf.payment_id), "envelope": {"tenant": "acme"}, "value": b"Ada Lovelace"}
        dead_letters.add(tx, consumer="mine", message_id=uuid4().hex, reason="Ada Lovelace is no stock", **letter)
    shown = orjson.dumps(trail_document(deaf.trail())).decode()
    for hidden in ("whsec_", "QUJD", "pm_card_secret", "Ada", "Lovelace", "token=abc", "shop.example"):
        assert hidden not in shown
    assert "mine" in shown


def test_an_event_that_no_window_holds(deaf: Any) -> None:
    assert deaf.gaps() == ["payment.accepted is in no window yet"]


def test_an_event_that_debezium_publishes_needs_no_window(deaf: Any) -> None:
    assert "payment.accepted is in no window yet" not in deaf.gaps(cdc_slot="paidonce_outbox")


def test_a_window_that_is_not_known_to_be_published(deaf: Any) -> None:
    deaf.record()
    assert deaf.gaps() == ["in a window that is not known to be published: payment.accepted"]
    deaf.consume("charges")
    assert "in a window that was published: payment.accepted" in [one.what for one in deaf.trail().entries]


def test_a_window_is_found_among_many_and_before_the_next(deaf: Any, trail_settings: Any, trail_bind: Any) -> None:
    others = [type(deaf)(trail_settings, trail_bind) for _ in range(12)]
    for other in others:
        other.accept()
    deaf.record(events_max=1)
    stories = {one.event().position: one for one in [deaf, *others]}
    numbers: dict[str, list[int]] = {}
    for position in sorted(stories):
        [window] = [entry for entry in stories[position].trail().entries if entry.stage == "window"]
        numbers.setdefault(window.ids["shard"], []).append(int(window.ids["window"]))
    for found in numbers.values():
        assert found == list(range(found[0], found[0] + len(found))), "one event a window, in order"
    unsure = [one for one in stories.values() if any("not known to be published" in what for what in one.gaps())]
    assert len(unsure) == len(numbers), "each shard's newest: a window is recorded after Kafka committed the one before"


def test_a_window_that_was_removed_is_no_gap(deaf: Any, trail_settings: Any, trail_bind: Any) -> None:
    shard = deaf.event().shard
    deaf.publish()
    while True:
        other = type(deaf)(trail_settings, trail_bind)
        other.accept()
        if other.event().shard == shard:
            break
    deaf.publish()
    deaf.execute(
        "DELETE FROM relay_windows WHERE shard = :s AND number < (SELECT max(number) FROM relay_windows)", s=shard
    )
    window = deaf.entry("the window of payment.accepted was removed by retention")
    assert (window.removed, window.gap) == (True, False)


def test_a_consumer_that_has_not_got_it(deaf: Any) -> None:
    deaf.publish()
    deaf.consume("charges", "notifications")
    assert deaf.gaps() == [
        "ledger has not got payment.accepted",
        "charge: it has not come to its end",
    ]


@pytest.mark.parametrize(("since", "expected"), [("-1 day", True), ("1 day", False)])
def test_a_consumer_of_ones_own_counts_from_its_first_day_on(deaf: Any, since: str, expected: bool) -> None:
    name = f"mine-{uuid4().hex[:8]}"
    with db.begin(deaf.bind) as tx:
        readers.note(tx, deaf.settings.topic, [name])
    deaf.execute("UPDATE readers SET since = now() + CAST(:since AS interval) WHERE consumer = :c", since=since, c=name)
    deaf.publish()
    deaf.consume()
    assert (f"{name} has not got payment.accepted" in deaf.gaps()) == expected
    with db.begin(deaf.bind) as tx:
        readers.forget(tx, deaf.settings.topic, name)


def test_a_consumer_that_the_cleaner_has_not_noted_yet_counts_too(deaf: Any) -> None:
    with db.begin(deaf.bind) as tx:
        starts.hold(tx, consumer="new-one", topic=deaf.settings.topic, partitions=[0], session=uuid4())
        starts.hold(tx, consumer="elsewhere", topic="orders", partitions=[0], session=uuid4())
    deaf.publish()
    deaf.consume()
    gaps = deaf.gaps()
    assert "new-one has not got payment.accepted" in gaps
    assert not any("elsewhere" in what for what in gaps)
    with db.begin(deaf.bind) as tx:
        starts.forget(tx, consumer="new-one", topic=deaf.settings.topic)


def test_a_message_that_waits(deaf: Any) -> None:
    deaf.publish()
    deaf.consume("ledger", "notifications", "charges")
    event = deaf.event()
    with db.begin(deaf.bind) as tx:
        message = {"message_id": str(event.id), "key": str(deaf.payment_id), "envelope": {}, "value": b"{}"}
        parked.park(tx, consumer="ledger", reason="Ada", delay=timedelta(hours=1), attempts=3, **message)
    assert "ledger has put payment.accepted off" in deaf.gaps()
    assert deaf.entry("ledger has put payment.accepted off").ids["attempts"] == "3"


@pytest.mark.parametrize(
    ("state", "said", "gap"),
    [
        ("dead", "payment.accepted of ledger is a dead letter, and waits for somebody's decision", True),
        ("redriven", "payment.accepted of ledger was a dead letter, and waits to be worked on again", True),
        ("done", "payment.accepted of ledger was a dead letter, and was worked on after all", False),
        ("discarded", "payment.accepted of ledger was a dead letter, and was given up", False),
    ],
)
def test_a_dead_letter(deaf: Any, state: str, said: str, gap: bool) -> None:
    event = deaf.event()
    place = {"topic": "payments", "partition": 3, "offset": 42}
    with db.begin(deaf.bind) as tx:
        of = {"consumer": "ledger", "message_id": str(event.id)}
        dead_letters.add(tx, key=str(deaf.payment_id), envelope=place, value=b"{}", reason="x", **of)
        [letter] = dead_letters.of_key(tx, str(deaf.payment_id), most=9)
        if state in ("redriven", "done"):
            dead_letters.redriven(tx, letter.id)
        if state == "done":
            assert dead_letters.done(tx, **of)
        if state == "discarded":
            dead_letters.discarded(tx, letter.id)
    entry = deaf.entry(said)
    assert entry.gap == gap
    assert (entry.ids["dead_letter"], entry.ids["offset"]) == (str(letter.id), "42")
    settled = [one.what for one in deaf.trail().entries if one.what == f"ledger's dead letter is {state}"]
    assert len(settled) == (0 if gap else 1)


def test_a_webhook_that_nobody_took_is_found_by_its_message(deaf: Any) -> None:
    message_id = str(deaf.event().id)
    with db.begin(deaf.bind) as tx:
        effects.create(tx, kind="webhook", subject=message_id, tenant="acme", request=b"{}")
        letter = {"message_id": message_id, "key": "acme", "envelope": {}, "value": b"{}", "reason": "retry-horizon"}
        dead_letters.add(tx, consumer=effect_kind.CONSUMER, **letter)
    said = "payment.accepted of webhook-delivery is a dead letter, and waits for somebody's decision"
    assert {said, "webhook: it has not come to its end"} <= set(deaf.gaps())


def test_an_effect_of_which_nobody_knows_since_its_first_silence(deaf: Any) -> None:
    deaf.publish()
    deaf.consume()
    for _ in range(3):
        deaf.no_answer()
    lines = [entry for entry in deaf.trail().entries if entry.stage == "effect"]
    silences = [
        entry for entry in lines if entry.what == "charge: asked, the answer was NoAnswer (time limit): unknown"
    ]
    [gap] = [entry for entry in lines if entry.gap]
    assert (gap.what, gap.at) == ("charge: nobody knows what came of it", silences[0].at)
    assert [entry.ids["attempt"] for entry in lines if "attempt" in entry.ids] == ["1", "2", "3"]
    assert (len(silences), gap.ids["attempts"]) == (3, "3")
    assert deaf.gaps() == ["charge: nobody knows what came of it"]


def test_a_charge_that_nobody_sent(deaf: Any) -> None:
    deaf.execute("UPDATE payments SET status = 'charging' WHERE id = :id", id=deaf.payment_id)
    assert "charge: the payment is charging, and nothing was sent" in deaf.gaps()


def test_a_capture_that_nobody_booked_and_an_event_that_nobody_committed(deaf: Any) -> None:
    deaf.execute("UPDATE payments SET status = 'captured' WHERE id = :id", id=deaf.payment_id)
    gaps = deaf.gaps()
    assert "the capture is not in the books" in gaps
    assert "no event payment.captured was committed" in gaps


def test_a_refund_has_its_own_request_effect_and_books(deaf: Any) -> None:
    captured(deaf)
    refund_id = deaf.refund(500)
    gaps = deaf.gaps()
    assert "no key has made the refund" in gaps, "this one was made without"
    deaf.publish()
    deaf.consume()
    [created] = [one for one in deaf.trail().entries if one.what == "refund: is to be sent"]
    assert created.ids["refund"] == str(refund_id)
    deaf.execute("UPDATE refunds SET status = 'succeeded' WHERE id = :id", id=refund_id)
    assert {"the refund is not in the books", "no event payment.refunded was committed"} <= set(deaf.gaps())


def test_a_webhook_that_the_tenant_wants_and_nobody_made(deaf: Any) -> None:
    deaf.publish()
    deaf.consume("charges", "ledger", "notifications")
    missing = "webhook: there is none for payment.accepted, which the tenant wants"
    assert missing not in deaf.gaps(), "it had no endpoint then"
    listen(deaf)
    assert missing not in deaf.gaps(), "the endpoint came after the message"
    deaf.execute("UPDATE webhook_endpoints SET updated_at = now() - interval '1 day'")
    assert missing in deaf.gaps()
    listen(deaf, ["payment.captured"])
    deaf.execute("UPDATE webhook_endpoints SET updated_at = now() - interval '1 day'")
    assert missing not in deaf.gaps(), "the endpoint does not want it"


def test_what_retention_removed_is_no_gap(deaf: Any) -> None:
    deaf.execute("DELETE FROM outbox WHERE aggregateid = :id", id=str(deaf.payment_id))
    deaf.execute("DELETE FROM idempotency WHERE resource_id = :id", id=str(deaf.payment_id))
    young = ["no key has made the payment", "no event payment.accepted was committed"]
    assert deaf.gaps() == young
    deaf.execute("UPDATE payments SET created_at = now() - interval '60 days' WHERE id = :id", id=deaf.payment_id)
    assert deaf.gaps() == []
    assert [(entry.what, entry.removed) for entry in deaf.trail().entries] == [
        ("the key of the payment's request was removed by retention", True),
        ("payment.accepted was removed from the outbox by retention", True),
    ]


def test_a_replays_copy_is_told_from_its_event(deaf: Any) -> None:
    deaf.publish()
    at = deaf.event().created_at
    wanted = outbox_replay.Range(at, at + timedelta(hours=1), str(deaf.payment_id))
    assert outbox_replay.replay(deaf.bind, wanted, progress=lambda _: None) == 1
    found = deaf.trail().entries
    assert [one.what for one in found if one.stage == "event"] == [
        "event payment.accepted",
        "event payment.accepted, a replay's copy",
    ]
    assert "payment.accepted, a replay's copy is in no window yet" in deaf.gaps()
    assert len([one for one in found if one.stage == "commit"]) == 1


def test_another_tenants_payment_and_none_have_no_trail(deaf: Any) -> None:
    with deaf.bind.connect() as tx:
        assert trail_of(tx, deaf.settings, deaf.payment_id, "globex") is None
        assert trail_of(tx, deaf.settings, new_id()) is None
        assert trail_of(tx, deaf.settings, deaf.payment_id, "acme") is not None


def test_more_than_is_read_at_once_is_said(deaf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deaf.trail().complete
    monkeypatch.setattr("paidonce.app.trail.reading.MOST", 1)
    assert not deaf.trail().complete
