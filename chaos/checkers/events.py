"""Did every event get where it had to go? On the topic exactly once and in order, at the merchant at least once.

An event that an operator published again stands in the outbox, and so on the topic, as often as that; what follows the
first time is then outside the order of its payment (docs/design.md, "Outbox").
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from paidonce.chaos.checkers.money import grouped
from paidonce.chaos.checkers.verdict import Examined, Violation
from paidonce.chaos.facts import Facts, TopicRecord


def _at(record: TopicRecord) -> str:
    return (
        f"partition {record.partition} offset {record.offset}: {record.type} sequence {record.sequence}"
        f" of {record.key}, message-id {record.message_id}"
    )


def published_once(facts: Facts) -> Examined:
    """Every committed row of the outbox is on the topic once for a `read_committed` reader, and nothing else is."""
    records = grouped(facts.topic, lambda record: record.message_id)
    committed = {event.id: event for event in facts.events}
    due = Counter(event.id for event in facts.events)
    violations = [
        Violation(
            f"event {event.id} is missing on the topic", (f"{event.type} sequence {event.sequence} of {event.key}",)
        )
        for event in committed.values()
        if event.id not in records
    ]
    violations += [
        Violation(
            f"event {message_id} is on the topic {len(group)} times, not {due[message_id]}", tuple(map(_at, group))
        )
        for message_id, group in records.items()
        if message_id in committed and len(group) != due[message_id]
    ]
    violations += [
        Violation(f"message {message_id} is on the topic, but no such event was committed", (_at(group[0]),))
        for message_id, group in records.items()
        if message_id not in committed
    ]
    return len(facts.events), violations


def in_order(facts: Facts) -> Examined:
    """The events of one payment are in one partition and in the order of its changes."""
    violations, keys = [], grouped(_originals(facts), lambda record: record.key)
    for key, records in keys.items():
        if len({record.partition for record in records}) > 1:
            violations.append(Violation(f"payment {key} is in several partitions", tuple(map(_at, records))))
        violations += [
            Violation(f"payment {key}: {after.type} came after {before.type}", (_at(before), _at(after)))
            for before, after in pairwise(sorted(records, key=lambda record: record.offset))
            if before.partition == after.partition and before.sequence >= after.sequence
        ]
    return len(keys), violations


def _originals(facts: Facts) -> Iterator[TopicRecord]:
    """Yield the records without those of events that were published again, but for their first."""
    due, seen = Counter(event.id for event in facts.events), set()
    for record in sorted(facts.topic, key=lambda record: (record.partition, record.offset)):
        if due[record.message_id] < 2 or record.message_id not in seen:
            yield record
        seen.add(record.message_id)


def announced(facts: Facts) -> Examined:
    """Every payment that was accepted has the event that says so."""
    told = {event.key for event in facts.events if event.type == "payment.accepted"}
    return len(facts.payments), [
        Violation(
            f"payment {row.id} was accepted, and no event says so", (f"{row.subject} of {row.tenant}: {row.status}",)
        )
        for row in facts.payments
        if row.id not in told
    ]


def handled(facts: Facts) -> Examined:
    """Every event was worked on by each of our consumers."""
    return len(facts.events), [
        Violation(f"consumer {consumer} never worked on event {event}", (type_,))
        for consumer, event, type_ in (line.split() for line in facts.unhandled)
    ]


def delivered(facts: Facts) -> Examined:
    """Every event of a tenant with an address arrived, under its own id, with one body, rightly signed."""
    due = {event.id: event for event in facts.events if event.tenant in facts.endpoints}
    taken = {d.webhook_id for d in facts.deliveries if d.verified and d.status < 300}
    violations = [
        Violation(f"{event.type} {event.id} never reached {event.tenant}", (f"payment {event.key}",))
        for event in due.values()
        if event.id not in taken
    ]
    for webhook_id, group in grouped(facts.deliveries, lambda delivery: delivery.webhook_id).items():
        told = tuple(f"to {d.tenant}: body {d.sha256[:12]}, answered {d.status}" for d in group)
        event = due.get(webhook_id)
        if event is None or {d.tenant for d in group} != {event.tenant}:
            violations.append(Violation(f"webhook {webhook_id} is not an event of the tenant who got it", told))
        if len({d.sha256 for d in group}) > 1:
            violations.append(Violation(f"webhook {webhook_id} came with different bodies", told))
        if not all(d.verified for d in group):
            violations.append(Violation(f"the signature of webhook {webhook_id} is wrong", told))
    return len(due), violations


def nothing_unknown(facts: Facts) -> Examined:
    """No call to the outside is open or unknown, but for what the plan expects; no message is put aside or given up."""
    expected = {(kind, subject) for kind in facts.expected_unknown for subject in facts.left_unknown(kind)}
    violations = [
        Violation(f"the {row.kind} of {row.subject} ended as {row.state}", (f"after {row.attempts} attempts",))
        for row in facts.effects
        if row.state not in {"done", "refused"} and (row.kind, row.subject) not in expected
    ]
    violations += [
        Violation("a webhook was given up", (row.subject,)) for row in facts.effects if _given_up(row.kind, row.state)
    ]
    violations += [Violation("a message is still put aside", (line,)) for line in facts.parked]
    violations += [Violation("a message became a dead letter", (line,)) for line in facts.dead_letters]
    return len(facts.effects), violations


def _given_up(kind: str, state: str) -> bool:
    return kind == "webhook" and state == "refused"
