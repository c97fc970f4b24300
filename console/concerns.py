"""What needs a person? Everything in a look that does not mend itself, the worst first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from paidonce.console.watch import Look
from paidonce.workers.cleaner import LEASE as CLEANER
from paidonce.workers.leases import LONGEST_S
from paidonce.workers.status import Status

#: Looks that may be missed before the figures are called old.
LOOKS_MISSED = 3


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing, and the page where it is seen or mended."""

    level: Literal["bad", "doubt"]
    what: str
    link: str


def concerns(look: Look, now: datetime, look_s: float) -> list[Concern]:
    """Return what needs a person; nothing when all is well."""
    found = [*_ready(look), *(_pipeline(look.status) if look.status else ())]
    age_s = (now - look.at).total_seconds()
    if age_s > LOOKS_MISSED * look_s + 1:
        found.append(
            Concern("doubt", f"these figures are {age_s:.0f} s old: a server keeps the console waiting", "#servers")
        )
    return sorted(found, key=lambda one: one.level)


def _ready(look: Look) -> Iterator[Concern]:
    for probe in look.servers:
        if not probe.ready:
            yield Concern("bad", f"{probe.name}: {probe.said}", "#servers")
    for probe in look.processes:
        if not probe.ready:
            yield Concern("bad", f"{probe.name}: {probe.said}", "#processes")


def _pipeline(status: Status) -> Iterator[Concern]:
    for consumer in status.consumers:
        if consumer.brake is not None:
            yield Concern("bad", f"{consumer.name} stands still: {consumer.brake}", "#consumers")
    held = {one.name for one in status.leases if 0 < one.left_s <= LONGEST_S}
    if CLEANER not in held:
        yield Concern("doubt", "no cleaner holds its lease: nothing is tidied, and no days are made ahead", "#leases")
    for shard in status.outbox if status.cdc is None else ():
        if shard.waiting and f"relay-shard-{shard.shard}" not in held:
            yield Concern("bad", f"no relay publishes shard {shard.shard}, and events wait in it", "#leases")
    if unknown := status.effects.get("unknown"):
        yield Concern("doubt", f"{unknown} effect{'s are' if unknown > 1 else ' is'} unknown", "/effects")
    if dead := sum(one.count for one in status.dead_letters if one.state == "dead"):
        yield Concern(
            "doubt", f"{dead} dead letter{'s wait' if dead > 1 else ' waits'} for a decision", "/dead-letters"
        )
