"""`paidonce outbox repair`: it explains, changes nothing without --yes, and refuses while a relay is at work."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from paidonce.app.settings import settings as settings_of_this_process
from paidonce.cli import app
from paidonce.devstack.pace import environment
from paidonce.workers import leases, outbox_repair_mend, relay_shards
from paidonce.workers.broker_marks import Mark

NOT_MENDED = 3
EVERY_WINDOW = "SELECT shard, number, identity, s1::text, s2::text, lo, hi, published FROM relay_windows ORDER BY 1, 2"


@pytest.fixture
def paidonce(rig: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """paidonce(*arguments): the command line, with the rig's settings."""
    named = {name: getattr(rig.settings, name) for name in rig.settings.model_fields_set if name != "provider_secret"}
    for name, value in environment(named | {"dsn": rig.settings.dsn.get_secret_value()}).items():
        monkeypatch.setenv(name, value)
    settings_of_this_process.cache_clear()
    monkeypatch.setattr("paidonce.app.log.configure", lambda *_: None)
    return lambda *arguments: CliRunner().invoke(app, ["outbox", *arguments])


@pytest.fixture(autouse=True)
def settings_read_anew() -> Any:
    yield
    settings_of_this_process.cache_clear()


@pytest.fixture
def ahead(rig: Any) -> list[str]:
    """Kafka has a window of shard 0 more than the database; the ids of what was published."""
    ids = rig.append(*rig.keys)
    rig.publish()
    mark = rig.mark(0)
    rig.set_mark(0, Mark(mark.number + 1, mark.identity, mark.topics))
    return ids


def document_of(result: Result) -> Any:
    """The last line: in a process of its own the log goes elsewhere."""
    return json.loads(result.stdout.splitlines()[-1])


def state(rig: Any) -> Any:
    return [rig.mark(0), rig.mark(1), rig.rows(EVERY_WINDOW), rig.rows("SELECT txid::text, position FROM outbox")]


@pytest.mark.slow
def test_where_all_agree_there_is_nothing_to_mend(rig: Any, paidonce: Any) -> None:
    rig.append(*rig.keys)
    rig.publish()
    before = state(rig)
    for arguments in (["repair"], ["repair", "--yes"]):
        result = paidonce(*arguments)
        assert (result.exit_code, "nothing to mend" in result.stdout) == (0, True)
    assert state(rig) == before


def test_an_empty_database_and_an_empty_kafka_agree(paidonce: Any) -> None:
    assert paidonce("repair").exit_code == 0


def test_without_yes_it_only_explains(rig: Any, ahead: list[str], paidonce: Any) -> None:
    before = state(rig)
    result = paidonce("repair")
    assert result.exit_code == NOT_MENDED
    assert "Kafka has window 2 of shard 0, the database only 1" in result.stdout
    assert "set Kafka's mark of shard 0 from window 2 to 0" in result.stdout
    assert "shard 1" not in result.stdout
    assert "paidonce outbox repair --yes" in result.stdout
    assert state(rig) == before


@pytest.mark.slow
def test_scripts_get_json(rig: Any, ahead: list[str], paidonce: Any) -> None:
    in_shard_0 = rig.one("SELECT count(*) FROM outbox WHERE shard = 0")
    document = document_of(paidonce("repair", "--json"))
    assert document["mended"] is False
    (wrong,) = [one for one in document["shards"] if one["contradictions"]]
    assert (wrong["shard"], wrong["kafka"], wrong["database"], wrong["keep"]) == (0, 2, 1, 0)
    assert wrong["contradictions"] == ["kafka-ahead"]
    assert wrong["events_after"] == in_shard_0
    assert document_of(paidonce("repair", "--json", "--yes"))["mended"] is True


@pytest.mark.slow
def test_every_shard_is_looked_at_whatever_this_shell_says(
    rig: Any, paidonce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the wrong setting shard 1 would stand still, and the repair see nothing to mend."""
    rig.append(*rig.keys)
    rig.publish()
    mark = rig.mark(1)
    rig.set_mark(1, Mark(mark.number + 1, mark.identity, mark.topics))
    monkeypatch.setenv("PAIDONCE_OUTBOX_SHARDS", "1")
    result = paidonce("repair")
    assert (result.exit_code, "set Kafka's mark of shard 1 from" in result.stdout) == (NOT_MENDED, True)
    assert paidonce("repair", "--yes").exit_code == 0
    assert paidonce("repair").exit_code == 0


def test_with_yes_the_shard_goes_on_and_loses_nothing(rig: Any, ahead: list[str], paidonce: Any) -> None:
    new = rig.append(*rig.keys, first=10)
    result = paidonce("repair", "--yes")
    assert (result.exit_code, "mended" in result.stdout) == (0, True)
    rig.publish()
    new += rig.append(*rig.keys, first=20)
    rig.publish()
    times = Counter(rig.read().ids)
    assert {times[id_] for id_ in new} == {1}
    assert {times[id_] for id_ in ahead} == {1, 2}, "the window in doubt comes again, shard 1's does not"
    assert paidonce("repair").exit_code == 0


@pytest.mark.slow
def test_a_window_that_the_database_knows_to_be_published_is_not_in_doubt(
    rig: Any, idle_at_once: None, ahead: list[str], paidonce: Any
) -> None:
    rig.rows("UPDATE relay_windows SET published = now()")
    assert paidonce("repair", "--yes").exit_code == 0
    rig.append(*rig.keys, first=10)
    rig.publish()
    rig.check_exactly_once()


@pytest.mark.slow
def test_another_identity_is_mended_from_that_number_on(rig: Any, paidonce: Any) -> None:
    """The database went back, and went on under another name: what comes from the number in dispute on is in doubt."""
    first = rig.append(*rig.keys)
    rig.publish()
    second = rig.append(*rig.keys, first=10)
    rig.publish()
    third = rig.append(*rig.keys, first=20)
    rig.publish()
    mark = rig.mark(0)
    rig.set_mark(0, Mark(2, mark.identity, mark.topics))
    result = paidonce("repair", "--yes", "--json")
    (wrong,) = [one for one in document_of(result)["shards"] if one["contradictions"]]
    assert (wrong["contradictions"], wrong["keep"]) == (["other-identity"], 1)
    rig.publish()
    times = Counter(rig.read().ids)
    assert {times[id_] for id_ in first} == {1}
    assert {times[id_] for id_ in second + third} == {1, 2}


def test_it_refuses_while_a_relay_owns_the_shard(
    rig: Any, ahead: list[str], paidonce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_repair_mend, "LEASE_WITHIN_S", 0.3)
    with outbox_repair_mend.outbox_repair.connect(rig.settings) as session:
        owner = leases.new_owner()
        lease = leases.acquire(session, "relay-shard-0", owner, for_s=60)
        assert lease is not None
        before = state(rig)
        result = paidonce("repair", "--yes")
        assert result.exit_code == 1
        assert f"shard 0 is owned by {owner}" in str(result.exception)
        assert state(rig) == before
        leases.release(session, lease)
    assert paidonce("repair", "--yes").exit_code == 0


@pytest.mark.slow
def test_a_relay_that_stands_still_leaves_the_lease_to_the_repair_and_goes_on(
    rig: Any, ahead: list[str], paidonce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = rig.relay()
    rig.drain(stopped)
    assert stopped.shards == [1]
    new = rig.append(*rig.keys, first=10)
    assert paidonce("repair", "--yes").exit_code == 0
    rig.drain(stopped)
    assert stopped.shards == [1], "it does not look again before its time"
    monkeypatch.setattr(stopped, "_stopped", dict.fromkeys(stopped._stopped, 0.0))
    stopped._look_at = 0.0
    rig.drain(stopped)
    assert stopped.shards == [0, 1]
    assert {Counter(rig.read().ids)[id_] for id_ in new} == {1}
    assert relay_shards.STOPPED_S <= 30


@pytest.mark.slow
def test_a_topic_made_anew_is_still_found_out_after_a_repair(rig: Any, ahead: list[str], paidonce: Any) -> None:
    assert paidonce("repair", "--yes").exit_code == 0
    mark = rig.mark(0)
    assert mark.topics.keys() == {rig.settings.topic}


@pytest.mark.slow
def test_a_repair_that_dies_half_way_is_mended_by_the_next(
    rig: Any, ahead: list[str], paidonce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox_repair_mend, "_set_mark", die)
        assert paidonce("repair", "--yes").exit_code != 0
    assert paidonce("repair").exit_code == NOT_MENDED
    assert paidonce("repair", "--yes").exit_code == 0
    rig.publish()
    assert paidonce("repair").exit_code == 0
