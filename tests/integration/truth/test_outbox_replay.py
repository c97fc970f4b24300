"""`paidonce outbox replay`: retained events once more, under their old ids; whoever knows them absorbs them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from paidonce.app.messaging.envelope import decode
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outbox import Range
from paidonce.app.messaging.outcomes import Done
from paidonce.app.settings import settings as settings_of_this_process
from paidonce.cli import app
from paidonce.devstack.pace import environment
from paidonce.workers import outbox_replay
from paidonce.workers.consumer_member import Member

PASSES_MOST = 400


@pytest.fixture
def paidonce(rig: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    named = {name: getattr(rig.settings, name) for name in rig.settings.model_fields_set if name != "provider_secret"}
    for name, value in environment(named | {"dsn": rig.settings.dsn.get_secret_value()}).items():
        monkeypatch.setenv(name, value)
    settings_of_this_process.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, ["outbox", "replay", *arguments])
    settings_of_this_process.cache_clear()


@pytest.fixture
def today() -> tuple[str, str]:
    """`--from` and `--to` around all that a test writes."""
    now = datetime.now(UTC)
    return (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()


def around(today: tuple[str, str], *more: str) -> list[str]:
    return ["--from", today[0], "--to", today[1], *more]


def test_each_comes_once_more_with_all_that_it_was(rig: Any, paidonce: Any, today: Any) -> None:
    ids = rig.append(*rig.keys, first=7, payload=b'{"n":1}')
    rig.publish()
    result = paidonce(*around(today))
    assert result.exit_code == 0
    assert f"{len(ids)}  payment.accepted" in result.stdout
    assert rig.publish() == len(ids)
    by_id: dict[str, list[Any]] = {}
    for record in rig.read().records:
        message = decode(record.key, record.value, record.headers)
        by_id.setdefault(message.message_id, []).append((message, [name for name, _ in record.headers]))
    assert by_id.keys() == set(ids)
    for (original, _), (copy, names) in by_id.values():
        replayed_at = copy.headers["ce_replayedtime"]
        assert datetime.fromisoformat(replayed_at) > datetime.fromisoformat(original.headers["ce_time"])
        assert {**copy.headers} == {**original.headers, "ce_replayedtime": replayed_at}
        assert (copy.key, copy.value, copy.type) == (original.key, original.value, original.type)
        assert Counter(names)["ce_time"] == 1


def test_a_copy_is_never_copied(rig: Any, paidonce: Any, today: Any) -> None:
    ids = rig.append(*rig.keys)
    for runs in (1, 2, 3):
        assert json.loads(paidonce(*around(today, "--json")).stdout)["replayed"] == len(ids)
        assert rig.one("SELECT count(*) FROM outbox") == (1 + runs) * len(ids)


def test_in_batches_shard_by_shard_and_in_order(rig: Any, today: Any) -> None:
    for first in (0, 10, 20):
        rig.append(*rig.keys, first=first)
    original = rig.committed()
    heard: list[int] = []
    wanted = Range(outbox_replay.parse(today[0]), outbox_replay.parse(today[1]))
    transactions = "SELECT count(DISTINCT txid) FROM outbox"
    before = rig.one(transactions)
    assert outbox_replay.replay(rig.bind, wanted, progress=heard.append, batch=5) == 24
    assert (heard[-1], heard == sorted(heard)) == (24, True)
    assert rig.one(transactions) - before == len(heard) >= 5
    assert rig.committed() == {key: ids * 2 for key, ids in original.items()}
    rig.publish()
    assert rig.check_exactly_once() == 48


def test_of_one_payment_only(rig: Any, paidonce: Any, today: Any) -> None:
    rig.append(*rig.keys)
    rig.append(*rig.keys, first=10)
    assert json.loads(paidonce(*around(today, "--aggregate", "key-3", "--json")).stdout)["replayed"] == 2
    copies = rig.rows("SELECT DISTINCT aggregateid FROM outbox WHERE headers ? 'ce_replayedtime'")
    assert copies == [("key-3",)]


def test_a_dry_run_only_counts(rig: Any, paidonce: Any, today: Any) -> None:
    ids = rig.append(*rig.keys)
    document = json.loads(paidonce(*around(today, "--dry-run", "--json")).stdout)
    assert (document["found"], document["replayed"]) == (len(ids), 0)
    assert document["by_type"] == {"payment.accepted": len(ids)}
    assert f"{len(ids)} events would be" in paidonce(*around(today, "--dry-run")).stdout
    assert rig.one("SELECT count(*) FROM outbox") == len(ids)


def test_the_range_is_half_open_and_times_without_an_offset_are_utc(rig: Any, paidonce: Any) -> None:
    rig.append("a")
    rig.rows("SELECT pg_sleep(0.002)")
    rig.append("b")
    second = rig.one("SELECT created_at FROM outbox WHERE aggregateid = 'b'")
    naive = second.astimezone(UTC).replace(tzinfo=None).isoformat()
    later = (second + timedelta(hours=1)).astimezone(UTC).replace(tzinfo=None).isoformat()
    earlier = (second - timedelta(hours=1)).astimezone(UTC).replace(tzinfo=None).isoformat()
    assert json.loads(paidonce("--from", naive, "--to", later, "--dry-run", "--json").stdout)["found"] == 1
    assert json.loads(paidonce("--from", earlier, "--to", naive, "--dry-run", "--json").stdout)["found"] == 1
    assert json.loads(paidonce("--from", earlier, "--to", later, "--dry-run", "--json").stdout)["found"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "2026-02-02", "--to", "2026-02-01"], 1, "is not before"),
        (["--from", "2026-02-02", "--to", "2026-02-02"], 1, "is not before"),
        (["--from", "2001-01-01", "--to", "2001-01-02"], 1, "the outbox has no event from 2001"),
        (["--from", "2001-01-01", "--to", "2001-01-02", "--aggregate", "x"], 1, "no event of x"),
        (["--from", "yesterday", "--to", "2026-02-01"], 2, "is no time"),
        (["--from", "2026-02-01"], 2, "--to"),
    ],
)
def test_what_cannot_be_is_said(rig: Any, paidonce: Any, arguments: list[str], code: int, said: str) -> None:
    rig.append(*rig.keys)
    result = paidonce(*arguments)
    assert result.exit_code == code
    assert said in str(result.exception) + result.output
    assert rig.one("SELECT count(*) FROM outbox") == len(rig.keys)


@pytest.mark.slow
def test_whoever_knows_a_message_absorbs_its_copy_and_whoever_does_not_works_on_it(
    rig: Any, paidonce: Any, today: Any
) -> None:
    """The one consumer has worked on all; the other's database was set back, while Kafka keeps its offsets."""
    rig.rows("CREATE TABLE worked (consumer text, message_id text)")
    ids = rig.append(*rig.keys)
    rig.publish()
    members = {name: member(rig, name) for name in ("knows", "forgot")}
    for name, one in members.items():
        consume(rig, one, name, len(ids))
    rig.rows("DELETE FROM inbox WHERE consumer = 'forgot'")
    rig.rows("DELETE FROM worked WHERE consumer = 'forgot'")
    assert paidonce(*around(today)).exit_code == 0
    new = rig.append("later")
    rig.publish()
    for name, one in members.items():
        consume(rig, one, name, len(ids) + 1)
        one.source.close()
    for name in members:
        worked = rig.rows("SELECT message_id FROM worked WHERE consumer = %s", name)
        assert Counter(id_ for (id_,) in worked) == Counter(ids + new), name


def member(rig: Any, name: str) -> Member:
    def work(tx: Any, message: Any) -> Done:
        tx.execute(text("INSERT INTO worked VALUES (:name, :id)"), {"name": name, "id": message.message_id})
        return Done()

    return Member(rig.settings, rig.bind, each(name, {"payment.accepted": work}))


def consume(rig: Any, one: Member, name: str, count: int) -> None:
    for _ in range(PASSES_MOST):
        one.run_once()
        if rig.one("SELECT count(*) FROM worked WHERE consumer = %s", name) >= count:
            return
    raise AssertionError(f"{name} does not get there")
