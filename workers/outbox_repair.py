"""Why does a shard stand still, and what would mend it? Said for people, from what Kafka and the database say.

Reads only. What is said here is done by workers/outbox_repair_mend.py (docs/operations.md, "A shard stands still").
"""

from dataclasses import asdict, dataclass, field
from typing import Literal
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from paidonce.app import db, installation
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import relay_session, reloaded, windows
from paidonce.workers.broker_marks import Mark, Marks
from paidonce.workers.leases import Session
from paidonce.workers.windows import Window

#: Events are counted no further: more than this is many.
COUNTED_MOST = 100_000

#: What contradicts what. The first two are between Kafka and the database, the others between the database and its
#: server: it was reloaded from a dump.
Contradiction = Literal["kafka-ahead", "other-identity", "other-server", "transaction-ids-behind"]

MEANING: dict[Contradiction, str] = {
    "kafka-ahead": "Kafka has window {kafka} of shard {shard}, the database only {database}: the database went back in "
    "time (a restore, or the promotion of a standby that lagged)",
    "other-identity": "Kafka and the database have different windows under number {kafka} of shard {shard}: the "
    "database went back in time, and went on",
    "other-server": "the database was first used on the server with system identifier {recorded}, and is on "
    "{found} now: it was reloaded from a dump, or PAIDONCE_DSN names another database",
    "transaction-ids-behind": "the server's transaction ids are behind those of the recorded windows: the database was "
    "reloaded from a dump, and new events would be taken for old ones",
}


@dataclass(frozen=True)
class Server:
    """Which server the database is on, by its system identifier."""

    #: when the database was first used; None: no relay ever ran on it
    recorded: str | None
    found: str
    #: whether its transaction ids are behind those of a recorded window
    is_behind: bool

    @property
    def is_other(self) -> bool:
        """Whether it is another one than then."""
        return self.recorded not in {None, self.found}


@dataclass(frozen=True)
class Finding:
    """What was found of one shard, and what `--yes` would do."""

    shard: int
    #: the number of the last window that Kafka committed; None: Kafka knows nothing
    kafka: int | None
    #: the number of the last window that the database has; 0: none
    database: int
    contradictions: list[Contradiction]
    #: the same in words
    because: list[str]
    #: the last window that both can stand for; what comes after it is published (again)
    keep: int
    #: events after that window; those of them that are on the topic already come twice. Counted to COUNTED_MOST
    events_after: int
    mark: Mark | None = field(repr=False)
    #: the window `keep`; None: there is none, or no longer
    kept: Window | None = field(repr=False)

    @property
    def is_reloaded(self) -> bool:
        """Whether events and windows come from another server, and do not fit its transaction ids."""
        return bool({"other-server", "transaction-ids-behind"} & {*self.contradictions})

    @property
    def moves_mark(self) -> bool:
        """Whether Kafka's mark must be set back."""
        return bool({"kafka-ahead", "other-identity"} & {*self.contradictions})

    @property
    def remedy(self) -> list[str]:
        """What `--yes` would do."""
        done = []
        if self.is_reloaded:
            done.append(f"give the events and windows of shard {self.shard} transaction ids that fit this server")
        if "other-server" in self.contradictions:
            done.append("record this server as the database's own")
        if self.moves_mark:
            done.append(f"set Kafka's mark of shard {self.shard} from window {self.kafka} to {self.keep}")
        return done

    @property
    def consequences(self) -> list[str]:
        """What that means."""
        many = f"{COUNTED_MOST} or more" if self.events_after >= COUNTED_MOST else str(self.events_after)
        said = [
            f"{many} events of shard {self.shard} are published next; those that are on the topic already come twice, "
            "under the same message ids, and the inbox absorbs them"
        ]
        if self.moves_mark:
            said.append(
                "events on the topic that this database does not have stay there: they tell of payments that it has "
                "lost, so compare with the provider's records"
            )
            said.append(
                "what consumers wrote to this database after the moment to which it went back is lost, while Kafka "
                "takes it for done: run `paidonce outbox replay` from some time before that moment afterwards"
            )
        return said


def explain(settings: Settings, bind: Engine) -> tuple[Server, list[Finding]]:
    """Return what contradicts what, for each shard; changes nothing.

    Raises:
        ConfigurationError: the server is a standby.
        BrokerAwayError, psycopg.Error: Kafka or PostgreSQL did not answer.
    """
    with bind.connect() as tx:
        shards = installation.shards(tx)
    marks = Marks(settings)
    try:
        # Kafka first: of a shard that is being published, the database is never behind what Kafka said before.
        found = {shard: marks.read(shard) for shard in range(shards)}
    finally:
        marks.close()
    with connect(settings) as session:
        server = server_of(session, bind)
        return server, [examine(session, shard, mark, server) for shard, mark in found.items()]


def connect(settings: Settings) -> Session:
    """Connect for looking and mending; raises psycopg.Error."""
    return psycopg.connect(
        db.libpq_dsn(settings, direct=True),
        autocommit=True,
        options=relay_session.OPTIONS,
        application_name="paidonce-repair",
    )


def server_of(session: Session, bind: Engine) -> Server:
    """Return the server; raises ConfigurationError when it is a standby."""
    found, is_standby = relay_session.identify(session)
    if is_standby:
        raise ConfigurationError("this server is a standby: name the primary in PAIDONCE_DSN")
    with bind.connect() as tx:
        recorded, shards = installation.fixed(tx, relay_session.SERVER), installation.shards(tx)
    recorded_windows = (windows.newest(session, shard) for shard in range(shards))
    return Server(recorded, found, any(relay_session.is_behind(session, one) for one in recorded_windows if one))


def examine(session: Session, shard: int, mark: Mark | None, server: Server) -> Finding:
    """Hold what Kafka says of the shard against the database."""
    newest = windows.newest(session, shard)
    database = newest.number if newest else 0
    contradictions: list[Contradiction] = []
    if mark is not None and mark.number > database:
        contradictions.append("kafka-ahead")
    elif mark is not None and _identity(session, shard, mark.number) not in {None, mark.identity}:
        contradictions.append("other-identity")
    if server.is_other:
        contradictions.append("other-server")
    if server.is_behind:
        contradictions.append("transaction-ids-behind")
    keep = _keep(session, shard, mark, contradictions)
    kept = _window(session, shard, keep)
    facts = {"shard": shard, "kafka": mark and mark.number, "database": database, **asdict(server)}
    return Finding(
        shard,
        mark.number if mark else None,
        database,
        contradictions,
        [MEANING[one].format(**facts) for one in contradictions],
        keep,
        _events_after(session, shard, kept, server),
        mark,
        kept,
    )


def _keep(session: Session, shard: int, mark: Mark | None, contradictions: list[Contradiction]) -> int:
    """Return the number of the last window that was published for certain.

    Where Kafka and the database agree, Kafka knows. Otherwise the database knows of each window but
    the newest (S6), and of what comes from the number in dispute on, nobody knows anything.
    """
    if mark is not None and not {"kafka-ahead", "other-identity"} & {*contradictions}:
        return mark.number
    sure = windows.surely_published(session, shard)
    number = sure.number if sure else 0
    return min(number, mark.number - 1) if mark is not None and "other-identity" in contradictions else number


def _events_after(session: Session, shard: int, kept: Window | None, server: Server) -> int:
    if server.is_other or server.is_behind:
        return reloaded.unpublished(session, shard, kept, most=COUNTED_MOST)
    return windows.after(session, shard, kept, most=COUNTED_MOST)[0]


def _identity(session: Session, shard: int, number: int) -> UUID | None:
    window = _window(session, shard, number)
    return window.identity if window else None


def _window(session: Session, shard: int, number: int) -> Window | None:
    window = windows.first_from(session, shard, number) if number else None
    return window if window is not None and window.number == number else None
