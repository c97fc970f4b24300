"""How is a shard that stands still mended? Under its lease, with every producer of it fenced, from what is found then.

What contradicts what is found by workers/outbox_repair.py. A repair that dies half-way leaves a shard
that still stands still: the next one mends it (docs/operations.md, "A shard stands still").
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Engine

from paidonce.app import db, installation
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import aside, leases, outbox_repair, relay_session, reloaded
from paidonce.workers.broker_marks import Mark, Marks
from paidonce.workers.broker_producer import Publisher
from paidonce.workers.leases import Lease, Session
from paidonce.workers.outbox_repair import Finding

#: Seconds for a shard's lease: a relay that has it looks for moments only, every half minute, if it stands still.
LEASE_WITHIN_S = 8.0
#: Seconds that a repair holds a shard, at least: a relay that took it in the midst would fence the repair.
REPAIR_LEASE_S = 30.0
#: Seconds between attempts.
LOOK_S = 0.1
#: Seconds for a reloaded outbox to be written anew: millions of rows take minutes.
RELOADED_WITHIN_S = 3_600.0
#: Before the first window: no window has it.
NO_IDENTITY = UUID(int=0)


def mend(settings: Settings, bind: Engine, shards: Sequence[int]) -> list[Finding]:
    """Mend what contradicts itself in these shards; return what was found and mended.

    Raises:
        ConfigurationError: a relay owns one of them and does not stand still, or the server is a standby.
        BrokerAwayError, psycopg.Error: Kafka or PostgreSQL did not answer; run it again.
    """
    with outbox_repair.connect(settings) as session, _owning(settings, session, shards) as held:
        publishers = {lease: _fenced(settings, shard) for shard, lease in zip(shards, held, strict=True)}
        try:
            found = _examine(settings, bind, session, shards)
            _mend(settings, bind, session, found, held)
            for (lease, publisher), finding in zip(publishers.items(), found, strict=True):
                leases.renew(session, lease, for_s=_lease_s(settings))
                if finding.moves_mark or finding.is_reloaded:
                    _set_mark(publisher, finding)
        finally:
            for publisher in publishers.values():
                publisher.close()
    return [finding for finding in found if finding.contradictions]


@contextmanager
def _owning(settings: Settings, session: Session, shards: Sequence[int]) -> Iterator[list[Lease]]:
    with ExitStack() as held:
        taken = []
        for shard in shards:
            lease = _take(settings, session, shard)
            held.callback(leases.release, session, lease)
            taken.append(lease)
        yield taken


def _take(settings: Settings, session: Session, shard: int) -> Lease:
    name, owner, deadline = f"relay-shard-{shard}", leases.new_owner(), monotonic() + LEASE_WITHIN_S
    while monotonic() < deadline:
        lease = leases.acquire(session, name, owner, for_s=_lease_s(settings))
        if lease is not None:
            return lease
        Event().wait(LOOK_S)
    holder = next((one.owner for one in leases.holders(session) if one.name == name), "somebody")
    raise ConfigurationError(
        f"shard {shard} is owned by {holder}, which does not stand still: nothing was changed. If it is a relay that "
        "hangs, stop it first; a dead one's lease is over within PAIDONCE_RELAY_LEASE_S"
    )


def _lease_s(settings: Settings) -> float:
    return max(settings.relay_lease_s, REPAIR_LEASE_S)


def _fenced(settings: Settings, shard: int) -> Publisher:
    publisher = Publisher(settings, shard)
    publisher.fence()
    return publisher


def _examine(settings: Settings, bind: Engine, session: Session, shards: Sequence[int]) -> list[Finding]:
    marks = Marks(settings)
    try:
        found = {shard: marks.read(shard) for shard in shards}
    finally:
        marks.close()
    server = outbox_repair.server_of(session, bind)
    return [outbox_repair.examine(session, shard, mark, server) for shard, mark in found.items()]


def _mend(settings: Settings, bind: Engine, session: Session, found: list[Finding], held: list[Lease]) -> None:
    again = [finding for finding in found if finding.is_reloaded]
    if not again:
        return
    work = aside.Call(_fit, settings, again, {lease.name: lease for lease in held})
    renew = partial(_renew, settings, session, held)
    work.result(limit_s=RELOADED_WITHIN_S, meanwhile=renew)
    _record_server(bind, outbox_repair.server_of(session, bind).found)


def _renew(settings: Settings, session: Session, held: list[Lease]) -> None:
    for lease in held:
        leases.renew(session, lease, for_s=_lease_s(settings))


def _fit(settings: Settings, found: list[Finding], held: dict[str, Lease]) -> None:
    limits = {"events_max": settings.relay_window_events, "bytes_max": settings.relay_window_bytes}
    with outbox_repair.connect(settings) as session:
        reloaded.fit(
            session,
            {finding.shard: (_mark(finding), finding.kept) for finding in found},
            {finding.shard: held[f"relay-shard-{finding.shard}"].epoch for finding in found},
            **limits,
        )


@step("repair.record_server")
def _record_server(bind: Engine, identifier: str) -> None:
    with db.begin(bind) as tx:
        installation.change(tx, relay_session.SERVER, identifier)


@step("repair.set_mark")
def _set_mark(publisher: Publisher, finding: Finding) -> None:
    mark = _mark(finding)
    if finding.mark != mark:
        publisher.publish([], mark)
        structlog.get_logger().warning("mark_was_set", shard=finding.shard, kafka=finding.kafka, now=mark.number)


def _mark(finding: Finding) -> Mark:
    """Return the mark that both can stand for; the topics stay known, so that one made anew is still found out."""
    if finding.mark is not None and finding.mark.number == finding.keep and not finding.moves_mark:
        return finding.mark
    identity = finding.kept.identity if finding.kept else NO_IDENTITY
    return Mark(finding.keep, identity, finding.mark.topics if finding.mark else {})
