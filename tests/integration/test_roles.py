"""What may each role do? Its process's work, and nothing else: the table of docs/roles.md is held to the database."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from paidonce.app import db, installation
from paidonce.app.clock import new_id
from paidonce.app.customers import store as customers
from paidonce.app.customers.model import CustomerDraft
from paidonce.app.errors import ConfigurationError
from paidonce.app.idempotency import store as keys
from paidonce.app.messaging import brakes, dead_letters, effects, inbox, outbox, parked, partitions, readers, starts
from paidonce.app.messaging.envelope import Event, Message
from paidonce.app.payments import ledger, provider_webhook
from paidonce.app.settings import Settings
from paidonce.app.tables import metadata
from paidonce.app.webhooks import endpoints
from paidonce.devstack.postgres import Postgres
from paidonce.migrations import rights, roles
from paidonce.migrations.upgrade import upgrade
from paidonce.workers import doctor_checks, effects_meter, forgetting, leases, outbox_replay, windows
from paidonce.workers.readings import topics_read

PAGE = Path(__file__).parents[2] / "docs/roles.md"
ALL = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
HAS = text("SELECT has_table_privilege(CAST(:role AS name), CAST(:table AS text), :privilege)")
SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


@pytest.fixture(scope="module")
def database(postgres: Postgres, template: str) -> Iterator[str]:
    """The DSN of a database for all of these tests: what they write is rolled back."""
    name = f"{template}_roles"
    _execute(postgres.dsn, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _at(postgres, name)
    _execute(postgres.dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def settings(database: str) -> Settings:
    return Settings(dsn=database)


@pytest.fixture(scope="module")
def bind(settings: Settings) -> Iterator[Engine]:
    engine = db.engine(settings, size=4)
    upgrade(engine, settings)
    with engine.connect() as tx:
        assert not roles.are_given(tx), "nobody asked for roles"
        assert tx.execute(text(roles.HELD), {"roles": list(rights.ROLES), "tables": list(rights.RIGHTS)}).all() == []
    upgrade(engine, settings, with_roles=True)
    yield engine
    engine.dispose()


@pytest.fixture
def login(postgres: Postgres, database: str) -> Iterator[Callable[..., str]]:
    """Make a login, in roles of the server; returns its DSN for the database."""
    made: list[str] = []

    def make(more: str = "") -> str:
        made.append(f"login_{uuid4().hex[:8]}")
        _execute(postgres.dsn, f"CREATE ROLE {made[-1]} LOGIN PASSWORD 'x' {more}")
        parts = urlsplit(database)
        return parts._replace(netloc=f"{made[-1]}:x@{parts.netloc.rpartition('@')[2]}").geturl()

    yield make
    for name in made:
        _execute(database, f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


def _at(postgres: Postgres, name: str) -> str:
    return urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()


def _execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(statement.encode())


def page() -> set[tuple[str, str, str]]:
    """The table of docs/roles.md."""
    lines = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines()]
    head = next(cells for cells in lines if cells and cells[0] == "table")
    found = [dict(zip(head, cells, strict=True)) for cells in lines if cells and cells[0] in rights.RIGHTS]
    return {
        (row["table"], f"paidonce_{role}", rights.PRIVILEGES[letter])
        for row in found
        for role in head[1:]
        for letter in row[role]
    }


def test_every_table_and_privilege_is_as_the_page_says_and_no_other(bind: Engine) -> None:
    with bind.connect() as tx:
        is_so = {
            (table, role, privilege)
            for table in rights.RIGHTS
            for role in set(rights.ROLES) - {rights.PARTITIONS}
            for privilege in ALL
            if tx.scalar(HAS, {"role": role, "table": table, "privilege": privilege})
        }
    owned = {(table, rights.CLEANER, privilege) for table in ("outbox", "inbox") for privilege in ALL}
    assert is_so == page() | owned
    assert page() == rights.wanted()


def test_no_table_is_forgotten() -> None:
    assert set(rights.RIGHTS) == {*metadata.tables, "alembic_version"}


def _event() -> Event:
    return Event(new_id(), "payment", "a", "payment.accepted", 1, b"{}")


def _api(tx: Connection) -> None:
    draft = CustomerDraft(name="n", email=None, metadata={})
    customers.put(tx, "acme", "c", draft, lambda _found: None)
    customers.change(tx, "acme", "c", lambda _found: draft)
    customers.remove(tx, "acme", "c", lambda _found: None)
    endpoints.put(tx, "acme", url="https://shop.example/", secret=SECRET, events=None, private_addresses=False)
    endpoints.remove(tx, "acme")
    body = b'{"type": "charge.captured", "data": {"id": "ch_1", "status": "captured", "amount": 1, "currency": "EUR",'
    for webhook_id in ("msg_1", str(new_id())):
        provider_webhook.handle(tx, webhook_id, body + b'"reference": "nobody", "decline_code": null}}')


def _park(tx: Connection) -> None:
    parked.park(
        tx,
        consumer="c",
        message_id="m",
        key="k",
        envelope={},
        value=b"",
        reason="r",
        delay=timedelta(0),
        attempts=1,
    )


def _reads(tx: Connection) -> None:
    """What consumers do beside the work itself, ours and yours."""
    ours, foreign = str(new_id()), "foreign"
    place = {"consumer": "c", "topic": "t"}
    inbox.claim(tx, "c", [ours, foreign, "00000000-0000-7000-8000-000000000000"])
    inbox.release(tx, "c", ours)
    outbox.has(tx, Message(ours, "t", "k", b"", {}))
    session = new_id()
    starts.hold(tx, partitions=[0], session=session, **place)
    starts.holds(tx, partitions=[0], session=session, **place)
    starts.begin_group(tx, partition=0, offset=1, **place)
    starts.begin_alone(tx, partition=0, offset=1, **place)
    starts.give_back(tx, partitions=[0], session=session, **place)
    starts.begin_parked(tx, consumer="c", position=1, session=session)
    starts.came_back(tx, consumer="c", position=1, session=session)
    starts.end_parked(tx, consumer="c", position=1)
    _park(tx)
    parked.waiting(tx, "c", ["k"])
    due = parked.due(tx, "c")
    assert due is not None
    parked.put_off(tx, due.position, delay=timedelta(0), reason="r")
    parked.remove(tx, due.position)
    parked.count(tx, "c")
    dead_letters.add(tx, consumer="c", message_id="m", key="k", envelope={}, value=b"", reason="r")
    dead_letters.done(tx, consumer="c", message_id="m")
    dead_letters.is_redriven(tx, consumer="c", message_id="m")
    dead_letters.count(tx, "c")
    brakes.engage(tx, "c", "r")
    brakes.engaged(tx, "c")
    effects.create(tx, kind="k", subject="s", tenant="acme", request=b"")


def _consumer(tx: Connection) -> None:
    _reads(tx)
    ledger.record(tx, [ledger.Movement("capture", "acme", "EUR", 1, new_id())])
    tx.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    endpoints.get(tx, "acme")


def _own(tx: Connection) -> None:
    _reads(tx)
    installation.fix(tx, "topic_partitions:t", "1")
    outbox.append(tx, _event(), bytes_max=10_000)
    claim = keys.Claim("acme", "own POST /o", "k", "a" * 64, timedelta(hours=1))
    assert keys.take(tx, claim)
    keys.keep(tx, claim, keys.Response(201, b"{}"))
    _effects(tx)


def _effects(tx: Connection) -> None:
    effects.claim_due(tx, "k", limit=1, lease_s=1.0, repeats=False)
    effects_meter._look(tx)
    dead_letters.add(tx, consumer="w", message_id="m", key="k", envelope={}, value=b"", reason="r")
    dead_letters.done(tx, consumer="w", message_id="m")


def _relay(tx: Connection) -> None:
    installation.fix(tx, "outbox_shards", str(installation.shards(tx)))


def _cleaner(tx: Connection) -> None:
    today = partitions.now(tx).date()
    keys.purge_expired(tx, most=1)
    keys.drop_tombstones(tx, older_than=timedelta(0), most=1)
    inbox.keep_young(tx, partitions.name_of("inbox", today), partitions.now(tx))
    inbox.sweep_foreign(tx, timedelta(0))
    readers.note(tx, "t", ["c"])
    readers.known(tx, "t")
    readers.missed(tx, "c", today, about="payment", since=partitions.now(tx))
    topics_read(tx, Settings())
    partitions.note_gone(tx, today)
    partitions.gone_since(tx, today, today)
    partitions.forget_gone(tx, today)
    installation.shards(tx)


def _operator(tx: Connection) -> None:
    brakes.release(tx, "c")
    dead_letters.get(tx, 1, lock=True)
    dead_letters.redriven(tx, 1)
    dead_letters.discarded(tx, 1)
    effects.again(tx, kind="k", subject="s")
    _park(tx)
    readers.forget(tx, "t", "c")
    starts.forget(tx, consumer="c", topic="t")
    installation.change(tx, "system_identifier", "1")
    tx.execute(text("UPDATE outbox SET txid = txid WHERE shard = 0; DELETE FROM relay_windows WHERE shard = 0"))


def _reader(tx: Connection) -> None:
    db.check_schema(tx)
    tx.execute(text("SELECT FROM payments, ledger_entries, effects, effect_history, outbox, inbox, idempotency"))


WORK: dict[str, Callable[[Connection], None]] = {
    rights.API: _api,
    rights.RELAY: _relay,
    rights.CONSUMER: _consumer,
    rights.EFFECTS: _effects,
    rights.CLEANER: _cleaner,
    rights.OWN: _own,
    rights.OPERATOR: _operator,
    rights.READER: _reader,
}


@pytest.mark.parametrize("role", WORK)
def test_the_work_that_is_rare_is_within_a_roles_rights(bind: Engine, role: str) -> None:
    """What a run of the stack seldom meets (tests/integration/test_kills.py); all of it is rolled back."""
    with bind.connect() as tx:
        tx.execute(text(f"SET LOCAL ROLE {role}"))
        db.check_schema(tx)
        WORK[role](tx)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (rights.API, "DELETE FROM payments"),
        (rights.API, "UPDATE outbox SET payload = payload"),
        (rights.RELAY, "UPDATE payments SET status = 'captured'"),
        (rights.RELAY, "INSERT INTO outbox DEFAULT VALUES"),
        (rights.CONSUMER, "UPDATE effects SET state = 'done'"),
        (rights.EFFECTS, "INSERT INTO effects DEFAULT VALUES"),
        (rights.EFFECTS, "DELETE FROM effect_history"),
        (rights.CLEANER, "SELECT FROM payments"),
        (rights.CLEANER, "DROP TABLE payments"),
        (rights.OWN, "SELECT FROM payments"),
        (rights.OPERATOR, "SELECT FROM webhook_endpoints"),
        (rights.READER, "SELECT secret FROM webhook_endpoints"),
        (rights.RELAY, "DROP TABLE outbox"),
        (rights.API, "CREATE TABLE mine ()"),
    ],
)
def test_what_is_not_a_roles_own_is_denied(bind: Engine, role: str, statement: str) -> None:
    with bind.connect() as tx:
        tx.execute(text(f"SET LOCAL ROLE {role}"))
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            tx.execute(text(statement))


def test_a_cleaners_login_makes_and_drops_days_that_another_one_may_drop(
    bind: Engine, login: Callable[..., str]
) -> None:
    first, second = (login(f"IN ROLE {rights.CLEANER}") for _ in range(2))
    with bind.connect() as tx:
        day = partitions.now(tx).date() + timedelta(days=60)
    by_first = db.engine(Settings(dsn=first), size=1)
    assert partitions.ensure(by_first, day, ahead_d=0, behind_d=0) == 2
    by_first.dispose()
    for table in ("outbox", "inbox"):
        with psycopg.connect(second, autocommit=True) as session:
            partitions.detach(session, table, day, pending=False)  # type: ignore[arg-type]
            partitions.drop(session, table, day)  # type: ignore[arg-type]


def test_a_cleaners_login_sees_since_when_others_are_at_work(
    bind: Engine, database: str, login: Callable[..., str]
) -> None:
    """Without pg_read_all_stats whatever is open would hold every day back."""
    by_cleaner = db.engine(Settings(dsn=login(f"IN ROLE {rights.CLEANER}")), size=1)
    with psycopg.connect(database) as other, by_cleaner.connect() as tx:
        other.execute("SELECT 1")
        assert partitions.began_before(tx, partitions.now(tx) - timedelta(hours=1)) is None
    by_cleaner.dispose()


def test_a_later_migration_sets_right_what_was_changed(bind: Engine, settings: Settings) -> None:
    with bind.begin() as tx:
        tx.execute(text(f"GRANT DELETE ON payments TO {rights.API}; REVOKE INSERT ON payments FROM {rights.API}"))
    upgrade(bind, settings)
    with bind.connect() as tx:
        may = {one: tx.scalar(HAS, {"role": rights.API, "table": "payments", "privilege": one}) for one in ALL}
    assert {one for one, is_so in may.items() if is_so} == {"SELECT", "INSERT", "UPDATE"}


def test_who_migrates_without_being_a_superuser_is_told_what_one_must_run(
    postgres: Postgres, database: str, login: Callable[..., str]
) -> None:
    migrator = urlsplit(login())
    name = f"{urlsplit(database).path[1:]}_own"
    _execute(postgres.dsn, f"CREATE DATABASE {name} OWNER {migrator.username}")
    try:
        own = migrator._replace(path=f"/{name}").geturl()
        engine = db.engine(Settings(dsn=own), size=1)
        with pytest.raises(ConfigurationError, match="let a superuser run once") as refused:
            upgrade(engine, Settings(dsn=own), with_roles=True)
        said = str(refused.value).partition("in this database: ")[2]
        _execute(_at(postgres, name), said)
        upgrade(engine, Settings(dsn=own), with_roles=True)
        with engine.connect() as tx:
            assert roles.are_given(tx)
        upgrade(engine, Settings(dsn=own))
        engine.dispose()
    finally:
        _execute(postgres.dsn, f"DROP DATABASE {name} WITH (FORCE)")


def test_who_comes_second_in_another_database_finds_the_role_made(postgres: Postgres, bind: Engine) -> None:
    """The roles are the server's."""
    name = f"group_{uuid4().hex[:8]}"
    statement = f"CREATE ROLE {name} NOLOGIN"
    with ThreadPoolExecutor(1) as pool, bind.connect() as second:
        with psycopg.connect(postgres.dsn) as first:
            first.execute(statement.encode())
            waiting = pool.submit(roles._unless_made_meanwhile, second, statement)
        waiting.result(30)
    _execute(postgres.dsn, f"DROP ROLE {name}")


def test_commands_work_as_operator_and_reader(bind: Engine, settings: Settings, login: Callable[..., str]) -> None:
    with bind.begin() as tx:
        outbox.append(tx, _event(), bytes_max=10_000)
    by_operator = db.engine(Settings(dsn=login(f"IN ROLE {rights.OPERATOR}")), size=1)
    with by_operator.connect() as tx:
        now = partitions.now(tx)
    wanted = outbox.Range(now - timedelta(hours=1), now + timedelta(hours=1))
    assert outbox_replay.look(by_operator, wanted).events == 1
    assert outbox_replay.replay(by_operator, wanted, progress=lambda _count: None) == 1
    assert forgetting._forget(by_operator, settings, "nobody") == []
    by_operator.dispose()
    reader = Settings(dsn=login(f"IN ROLE {rights.READER}"))
    assert "schema" in doctor_checks.postgres(reader)
    with psycopg.connect(db.libpq_dsn(reader), autocommit=True) as session:
        assert leases.holders(session) == []
        assert sum(windows.waiting(session, shard, most=9) for shard in range(settings.outbox_shards)) == 2
