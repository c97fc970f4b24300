"""What is a payment's path, the topic included? `paidonce trail`: a time line for people, or JSON."""

from uuid import UUID

import orjson
from rich.console import Console
from rich.text import Text
from sqlalchemy import Connection, Engine

from paidonce.app import installation
from paidonce.app.errors import ConfigurationError, PaidonceError
from paidonce.app.settings import Settings
from paidonce.app.trail.facts import Facts, Places
from paidonce.app.trail.finding import find
from paidonce.app.trail.model import Entry, Found, Trail, trail_document
from paidonce.app.trail.origins import published_at
from paidonce.app.trail.reading import read
from paidonce.app.trail.trail import assemble
from paidonce.app.visible import visible
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_places import look
from paidonce.workers.command_session import opened
from paidonce.workers.relay_topics import PARTITIONS

#: What the topic says, on the last line of a time line.
KAFKA = {
    "looked": "the topic was looked at",
    "not_looked_for": "nothing was sent yet that could be on the topic",
    "away": "Kafka did not answer: partitions and offsets are not shown",
}


def main(settings: Settings, text: str, *, as_json: bool) -> None:
    """Print the trail of the one payment that `text` leads to.

    Raises:
        PaidonceError: it leads to none, or to several.
        SchemaVersionError: the database has another schema version than this program.
    """
    with opened(settings) as bind:
        found = looked_for(settings, bind, text)
    if as_json:
        Console(soft_wrap=True, highlight=False, markup=False).print(orjson.dumps(trail_document(found)).decode())
    else:
        _show(found)


def looked_for(settings: Settings, bind: Engine, text: str) -> Trail:
    """Return the trail with the places on the topic; raises PaidonceError as `main` does."""
    with bind.connect() as tx:
        facts = _facts(tx, settings, text)
        fixed = installation.fixed(tx, f"{PARTITIONS}{facts.topic}")
    return _with_places(settings, facts, fixed)


def of_payment(settings: Settings, bind: Engine, payment_id: UUID) -> Trail | None:
    """Return one payment's trail with the places on the topic; None when there is no such payment."""
    with bind.connect() as tx:
        facts = read(tx, settings, payment_id, None)
        if facts is None:
            return None
        fixed = installation.fixed(tx, f"{PARTITIONS}{facts.topic}")
    return _with_places(settings, facts, fixed)


def _with_places(settings: Settings, facts: Facts, fixed: str | None) -> Trail:
    """Ask Kafka, while no transaction is open."""
    sent = {event.id: published_at(facts, event) for event in facts.originals if _may_be_there(facts, event.position)}
    if not sent:
        return assemble(facts)
    try:
        places: Places = look(
            settings, facts.topic, str(facts.payment.id), sent, partitions=int(fixed) if fixed else None
        )
    except (BrokerAwayError, ConfigurationError):
        return assemble(facts, kafka="away")
    return assemble(facts, places, "looked")


def _facts(tx: Connection, settings: Settings, text: str) -> Facts:
    found = find(tx, text)
    if not found:
        raise PaidonceError(
            f"no payment is known under {text!r}: give its id, a refund's or a message's, an Idempotency-Key that is "
            "still remembered, or its reference"
        )
    if len(found) > 1:
        raise PaidonceError("\n".join([f"{text!r} leads to several payments; give the id of one:", *map(_line, found)]))
    facts = read(tx, settings, found[0].payment_id, None)
    if facts is None:
        raise PaidonceError(f"payment {found[0].payment_id} is gone")
    return facts


def _line(found: Found) -> str:
    return f"  {found.payment_id}  {found.tenant}  by {found.why}"


def _may_be_there(facts: Facts, position: int) -> bool:
    """Tell whether to look for an event on the topic: what is in no window was not sent."""
    return facts.by_cdc or position in facts.windows


def _show(trail: Trail) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    refunded = f", {trail.amount_refunded} refunded" if trail.amount_refunded else ""
    console.print(
        f"payment {trail.payment_id} of {trail.tenant}: {trail.status}, {trail.amount} {trail.currency}{refunded}"
    )
    for entry in trail.entries:
        console.print(_entry(entry))
    console.print(Text(f"{len(trail.gaps)} gaps; {KAFKA[trail.kafka]}", style="bold red" if trail.gaps else "green"))
    if not trail.complete:
        console.print("there is more of this payment than is read at once: what seems to be missing may be there")


def _entry(entry: Entry) -> Text:
    sign, style = ("!", "bold red") if entry.gap else ("~", "yellow") if entry.removed else (" ", "")
    shown = Text(f"{sign} {entry.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {entry.stage:<11}  ", style=style)
    shown.append(f"GAP: {entry.what}" if entry.gap else entry.what, style=style)
    ids = "  ".join(f"{name}={visible(value)}" for name, value in entry.ids.items())
    return shown.append(f"\n    {ids}", style="dim")
