"""Where are steps struck that would spoil the evidence of all others? In a second installation on the same servers.

It has a database, topics and a relay's name of its own. A repair lets events come twice, which is its promise
(docs/operations.md, "A shard stands still"), and would be the main installation's broken one.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

import httpx
import psycopg
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import Engine

from paidonce.app import db, installation
from paidonce.app.clock import new_id
from paidonce.app.db import begin
from paidonce.app.documents import as_json
from paidonce.app.messaging import outbox
from paidonce.app.messaging.envelope import Event
from paidonce.app.settings import Settings
from paidonce.chaos import witnesses
from paidonce.chaos.atlas.errand import ErrandError, wait
from paidonce.chaos.atlas.ground import Ground
from paidonce.chaos.atlas.operator import insist
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.migrations.upgrade import upgrade
from paidonce.workers.relay_session import SERVER

#: Databases by purpose: the one that repairs is broken again by each errand, the other never has an event.
REPAIRED, EMPTY = "atlas_repaired", "atlas_empty"
#: Events that each errand adds, each of a payment of its own: so both shards have windows.
EVENTS = 8
#: Seconds within which a worker of the shadow is ready or has published: a start and a lease, on a busy machine too.
READY_S = 60.0

BREAK = """
    DELETE FROM relay_windows AS last
     WHERE number > 1 AND number = (SELECT max(number) FROM relay_windows WHERE shard = last.shard)
"""
#: A repair that was killed leaves leases of half a minute, which nobody needs to wait for here.
EXPIRE = "UPDATE leases SET expires_at = clock_timestamp() - interval '1 second' WHERE expires_at IS NOT NULL"

#: Alembic works on one upgrade at a time in a process; errands are threads.
_INSTALLING = Lock()


@dataclass(frozen=True, slots=True)
class Shadow:
    """The second installation, with what its processes and operators are told."""

    settings: Settings
    bind: Engine
    more: Mapping[str, str]

    def events(self) -> int:
        """Return how many events its outbox has."""
        with self.bind.connect() as tx:
            return int(tx.exec_driver_sql("SELECT count(DISTINCT id) FROM outbox").scalar_one())


@contextmanager
def installed(ground: Ground, database: str, names: str) -> Iterator[Shadow]:
    """Yield the installation on that database, made if need be; `names` tell its topics from others'."""
    dsn = f"{ground.stack.addresses.dsn.rpartition('/')[0]}/{database}"
    update = {"dsn": SecretStr(dsn), "topic": names, "relay_name": f"{names}-relay"}
    settings = ground.stack.settings.model_copy(update=update)
    more = {"PAIDONCE_DSN": dsn, "PAIDONCE_TOPIC": names, "PAIDONCE_RELAY_NAME": f"{names}-relay"}
    bind = db.engine(settings, size=2)
    try:
        with _INSTALLING:
            _create(ground.stack.addresses.dsn, database)
            upgrade(bind, settings)
        yield Shadow(settings, bind, more)
    finally:
        bind.dispose()


def _create(dsn: str, database: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        if session.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def new_topics(ground: Ground) -> None:
    """A relay starts where its topics are not there yet, and makes them; again where it was struck."""
    with installed(ground, EMPTY, f"atlas-{next(ground.numbers)}") as shadow, working(ground, shadow, "relay"):
        pass


def repair(ground: Ground) -> None:
    """The database lost windows and is said to be another server's: a repair mends both, and all is published."""
    with installed(ground, REPAIRED, "atlas-repaired") as shadow:
        _append(shadow)
        _publish(ground, shadow)
        with begin(shadow.bind) as tx:
            installation.change(tx, SERVER, "1")
            tx.exec_driver_sql(BREAK)
        _expire(shadow)
        _mend(ground, shadow)
        _publish(ground, shadow)


def _mend(ground: Ground, shadow: Shadow) -> None:
    def done() -> bool:
        _expire(shadow)
        return ground.command("outbox", "repair", more=shadow.more).returncode == 0

    insist(ground, "outbox", "repair", "--yes", more=shadow.more, done=done)


def _expire(shadow: Shadow) -> None:
    with begin(shadow.bind) as tx:
        tx.exec_driver_sql(EXPIRE)


def _append(shadow: Shadow) -> None:
    with begin(shadow.bind) as tx:
        for _ in range(EVENTS):
            payment = str(new_id())
            document = {"tenant": "nobody", "type": "payment.accepted", "created_at": datetime.now(UTC), "data": {}}
            event = Event(new_id(), "payment", payment, "payment.accepted", 1, as_json(document))
            outbox.append(tx, event, bytes_max=shadow.settings.message_bytes_max)


def _publish(ground: Ground, shadow: Shadow) -> None:
    """Let a relay work until every event is on the topic."""
    with working(ground, shadow, "relay"):
        wait(lambda: _published(shadow) >= shadow.events(), "every event of the shadow is published", within_s=READY_S)


def _published(shadow: Shadow) -> int:
    return len({one.message_id for one in witnesses.topic(shadow.settings.kafka, shadow.settings.topic)})


@contextmanager
def working(ground: Ground, shadow: Shadow, worker: str) -> Iterator[Callable[[], bool]]:
    """Run a worker of the shadow, ready; yields what tells whether it is, and starts one again that was struck."""
    port = free_port()
    env = ground.environment({**shadow.more, "PAIDONCE_WORKER_PORT": str(port)})
    running: list[subprocess.Popen[bytes]] = []

    def is_ready() -> bool:
        if not running or running[-1].poll() is not None:
            running.append(_start(ground, worker, env))
        try:
            return httpx.get(f"http://{LOOPBACK}:{port}/readyz", timeout=1.0, trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait(is_ready, f"a {worker} of the shadow is ready", within_s=READY_S)
        yield is_ready
    finally:
        for one in running:
            one.send_signal(signal.SIGTERM)
            one.send_signal(signal.SIGCONT)
            try:
                one.wait(READY_S)
            except subprocess.TimeoutExpired:
                one.kill()
                raise ErrandError(f"a {worker} of the shadow did not end") from None


def _start(ground: Ground, worker: str, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    with (ground.stack.run.folder / "logs" / f"shadow-{worker}.log").open("ab") as output:
        return subprocess.Popen(
            ground.argv(worker), env=dict(env), cwd=ground.stack.run.folder, stdout=output, stderr=output
        )
