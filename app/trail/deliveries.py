"""Who got a payment's messages? The inbox of each consumer, what waits there, and what nobody could work on."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from paidonce.app.messaging.dead_letters import DeadLetter
from paidonce.app.messaging.outbox import Appended
from paidonce.app.messaging.parked import Waiting
from paidonce.app.payments.events import EVENT_TYPES
from paidonce.app.trail.facts import Facts, Places
from paidonce.app.trail.model import Entry
from paidonce.app.trail.origins import is_published, published_at

#: Our own consumers, and which types each works on; it passes over the others. A test holds the workers to it.
OURS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "charges": frozenset({"payment.accepted", "payment.refund_requested"}),
        "ledger": frozenset({"payment.captured", "payment.refunded"}),
        "notifications": EVENT_TYPES,
    }
)

#: state -> what it means to whoever reads it
LETTERS: Mapping[str, str] = MappingProxyType(
    {
        "dead": "is a dead letter, and waits for somebody's decision",
        "redriven": "was a dead letter, and waits to be worked on again",
        "done": "was a dead letter, and was worked on after all",
        "discarded": "was a dead letter, and was given up",
    }
)


def entries(facts: Facts, places: Places | None) -> Iterator[Entry]:
    """Yield what became of the messages behind the topic."""
    for event in facts.originals:
        for consumer in sorted(facts.consumers):
            yield from _arrival(facts, event, consumer, places)
    yield from (_waiting(facts, one) for one in facts.parked)
    for letter in facts.letters:
        yield from _letter(facts, letter)


def _arrival(facts: Facts, event: Appended, consumer: str, places: Places | None) -> Iterator[Entry]:
    ids = {"consumer": consumer, "message_id": str(event.id)}
    arrived_at = facts.arrivals.get((consumer, event.id))
    if arrived_at is not None:
        passed_over = consumer in OURS and event.type not in OURS[consumer]
        what = f"{consumer} {'passed over' if passed_over else 'got'} {event.type}"
        yield Entry(at=arrived_at, stage="inbox", what=what, ids=ids)
    elif _is_missed(facts, event, consumer, places):
        what = f"{consumer} has not got {event.type}"
        yield Entry(at=published_at(facts, event), stage="inbox", what=what, ids=ids, gap=True)


def _is_missed(facts: Facts, event: Appended, consumer: str, places: Places | None) -> bool:
    """Tell whether the consumer should have it: it was published, and not before the consumer counted."""
    since = facts.consumers[consumer]
    counts = since is None or event.created_at >= since
    return counts and (facts.by_cdc or is_published(facts, event, places))


def _waiting(facts: Facts, one: Waiting) -> Entry:
    ids = {"consumer": one.consumer, "message_id": one.message_id, "attempts": str(one.attempts)}
    ids["next_attempt_at"] = one.next_attempt_at.isoformat()
    what = f"{one.consumer} has put {_named(facts, one.message_id)} off"
    return Entry(at=one.created_at, stage="parked", what=what, ids=ids, gap=True)


def _letter(facts: Facts, letter: DeadLetter) -> Iterator[Entry]:
    ids = {"consumer": letter.consumer, "message_id": letter.message_id, "dead_letter": str(letter.id)}
    ids |= {name: str(letter.envelope[name]) for name in ("topic", "partition", "offset") if name in letter.envelope}
    what = f"{_named(facts, letter.message_id)} of {letter.consumer} {LETTERS[letter.state]}"
    open_ = letter.state in ("dead", "redriven")
    yield Entry(at=letter.created_at, stage="dead_letter", what=what, ids=ids, gap=open_)
    if letter.settled_at is not None:
        what = f"{letter.consumer}'s dead letter is {letter.state}"
        yield Entry(at=letter.settled_at, stage="dead_letter", what=what, ids=ids)


def _named(facts: Facts, message_id: str) -> str:
    return facts.typed.get(message_id, "a message")
