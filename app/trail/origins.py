"""How did a payment's events come about, and how did they get to the topic? From the request to the offset."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from uuid import UUID

from paidonce.app.messaging.outbox import Appended
from paidonce.app.messaging.relayed import Relayed
from paidonce.app.payments.events import EventType
from paidonce.app.trail.facts import Facts, Missing, Place, Places
from paidonce.app.trail.model import Entry


def entries(facts: Facts, places: Places | None) -> Iterator[Entry]:
    """Yield what happened up to the topic; without `places` nothing is said of partition and offset."""
    yield from _requests(facts)
    yield from _commits(facts)
    yield from _missing_events(facts)
    for event in facts.events:
        name = f"{event.type}, a replay's copy" if event.is_copy else event.type
        ids = _ids(event) | {"sequence": str(event.sequence), "position": str(event.position)}
        if event.trace_id:
            ids["trace_id"] = event.trace_id
        yield Entry(at=event.created_at, stage="event", what=f"event {name}", ids=ids)
        if not facts.by_cdc:
            yield _window(facts, event, name, places)
    if places is not None:
        yield from (_place(facts, event, places[event.id]) for event in facts.originals if event.id in places)


def is_published(facts: Facts, event: Appended, places: Places | None) -> bool:
    """Tell whether it is certain that Kafka has, or had, the event: by its window, or because it was seen there."""
    window = facts.windows.get(event.position)
    if window is not None and window.is_published:
        return True
    if event.is_copy:
        return False
    return event.id in facts.arrived or (places is not None and isinstance(places.get(event.id), Place))


def published_at(facts: Facts, event: Appended) -> datetime:
    """Return from when on the event should be with its consumers."""
    window = facts.windows.get(event.position)
    return event.created_at if window is None or window.is_later else window.published or window.created_at


def _requests(facts: Facts) -> Iterator[Entry]:
    for key in facts.keys:
        answer = "its answer is kept" if key.has_answer else "its answer has expired, and it is refused"
        ids = {"key": key.key, "expires_at": key.expires_at.isoformat(), "made": key.resource_id}
        yield Entry(at=key.created_at, stage="request", what=f"{key.endpoint} under a key: {answer}", ids=ids)
    known = {key.resource_id for key in facts.keys}
    if str(facts.payment.id) not in known:
        yield _without_key(facts, "payment", facts.payment.id, facts.payment.created_at)
    for refund in facts.refunds:
        if str(refund.id) not in known:
            yield _without_key(facts, "refund", refund.id, refund.created_at)


def _without_key(facts: Facts, name: str, id_: UUID, at: datetime) -> Entry:
    removed = at + facts.keys_kept < facts.read_at
    what = f"the key of the {name}'s request was removed by retention" if removed else f"no key has made the {name}"
    return Entry(at=at, stage="request", what=what, ids={name: str(id_)}, gap=not removed, removed=removed)


def _commits(facts: Facts) -> Iterator[Entry]:
    # A transaction's events follow on each other: whoever writes one holds the payment's lock.
    for txid, together in groupby(facts.originals, key=lambda event: event.txid):
        events = list(together)
        what = "committed: " + ", ".join(event.type for event in events)
        yield Entry(at=events[0].created_at, stage="commit", what=what, ids={"transaction": txid})


def _missing_events(facts: Facts) -> Iterator[Entry]:
    """What the states say must have been committed, and the outbox has not.

    A day that has left the outbox took its events along. Of an event whose own time no row says, only
    the payment's beginning is known: it counts as removed when that has left the outbox.
    """
    found = Counter(event.type for event in facts.originals)
    for type_, times in _expected(facts).items():
        for at in sorted(times)[: max(0, len(times) - found[type_])]:
            removed = at.astimezone(UTC).date() < facts.outbox_from
            what = f"{type_} was removed from the outbox by retention" if removed else f"no event {type_} was committed"
            ids = {"payment": str(facts.payment.id)}
            yield Entry(at=at, stage="event", what=what, ids=ids, gap=not removed, removed=removed)


def _expected(facts: Facts) -> dict[EventType, list[datetime]]:
    payment, began = facts.payment, [facts.payment.created_at]
    times: dict[EventType, list[datetime]] = {"payment.accepted": began}
    if payment.status in ("captured", "refunded"):
        times["payment.captured"] = began
    elif payment.status == "declined":
        times["payment.declined"] = began
    elif payment.status == "canceled":
        times["payment.canceled"] = began
    times["payment.refund_requested"] = [refund.created_at for refund in facts.refunds]
    times["payment.refunded"] = [refund.updated_at for refund in facts.refunds if refund.status == "succeeded"]
    times["payment.refund_failed"] = [refund.updated_at for refund in facts.refunds if refund.status == "failed"]
    return times


def _window(facts: Facts, event: Appended, name: str, places: Places | None) -> Entry:
    window = facts.windows.get(event.position)
    if window is None:
        what = f"{name} is in no window yet"
        return Entry(at=event.created_at, stage="window", what=what, ids=_ids(event), gap=True)
    if window.is_later:
        what = f"the window of {name} was removed by retention"
        return Entry(at=event.created_at, stage="window", what=what, ids=_ids(event), removed=True)
    sure = is_published(facts, event, places)
    what = f"in a window that {'was' if sure else 'is not known to be'} published: {name}"
    return Entry(at=window.created_at, stage="window", what=what, ids=_window_ids(event, window), gap=not sure)


def _window_ids(event: Appended, window: Relayed) -> dict[str, str]:
    ids = _ids(event) | {"window": str(window.number), "epoch": str(window.epoch)}
    return ids | {"published": window.published.isoformat()} if window.published else ids


def _place(facts: Facts, event: Appended, place: Place | Missing) -> Entry:
    ids = {"message_id": str(event.id), "topic": facts.topic}
    if isinstance(place, Place):
        ids |= {"partition": str(place.partition), "offset": str(place.offset)}
        return Entry(at=place.at, stage="topic", what=f"on the topic: {event.type}", ids=ids)
    at, removed = published_at(facts, event), place.why == "removed"
    what = f"{event.type} was removed from the topic by retention"
    if not removed:
        what = f"{event.type} is not among the {place.records} records of its time on the topic"
    return Entry(at=at, stage="topic", what=what, ids=ids, gap=not removed, removed=removed)


def _ids(event: Appended) -> dict[str, str]:
    return {"message_id": str(event.id), "shard": str(event.shard)}
