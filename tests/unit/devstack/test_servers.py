"""Servers that a setting names are taken as they are; containers without an engine are one clear error."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from paidonce.app.settings import Settings
from paidonce.devstack import kafka_jars, ports, state
from paidonce.devstack.errors import JarsUnobtainableError, StackError
from paidonce.devstack.pace import PACE, environment, new_secret
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import start_servers, take_valkey


def test_servers_that_are_named_are_taken_and_not_started(run: Run) -> None:
    named = Settings(dsn="postgresql://there/paidonce", kafka="there:9092", valkey="redis://there")
    said: list[str] = []
    servers = start_servers(run, named, durable=True, report=said.append)
    assert (servers.postgres.dsn, servers.kafka.bootstrap) == ("postgresql://there/paidonce", "there:9092")
    assert servers.valkey.url == "redis://there"
    assert servers.pids() == {}
    assert len(said) == 3


@pytest.mark.parametrize(
    ("settings", "wanted", "setting"),
    [
        (Settings(kafka="there:9092"), {"brokers": 3}, "PAIDONCE_KAFKA"),
        (Settings(dsn="postgresql://there/paidonce"), {"standby": True}, "PAIDONCE_DSN"),
        (Settings(stack="containers"), {"brokers": 3}, "PAIDONCE_STACK"),
    ],
)
def test_a_cluster_or_a_standby_of_servers_that_are_not_ours_is_refused(
    run: Run, settings: Settings, wanted: dict[str, Any], setting: str
) -> None:
    with pytest.raises(StackError, match=f"only of embedded servers.*{setting}"):
        start_servers(run, settings, durable=True, report=lambda _: None, **wanted)


def test_containers_without_an_engine_are_a_clear_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(StackError, match="PAIDONCE_STACK=containers"):
        take_valkey(run, Settings(stack="containers"))


def test_ports_are_given_once_and_lie_below_those_of_outgoing_connections() -> None:
    given = [ports.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert all(ports.FIRST <= port <= ports.LAST for port in given)


def test_a_jar_that_is_not_the_pinned_one_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _name: tmp_path)
    good = {"a.jar": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    monkeypatch.setattr(kafka_jars, "SHA256", good)
    source = tmp_path / "a.jar"
    fetched = []

    def fetch(_scratch: Path) -> list[Path]:
        fetched.append(source.read_text())
        return [source]

    monkeypatch.setattr(kafka_jars, "_fetch", fetch)
    source.write_text("tampered")
    with pytest.raises(JarsUnobtainableError, match=r"not the pinned ones: a\.jar"):
        kafka_jars.kafka_jars()
    source.write_text("a")
    (jar,) = kafka_jars.kafka_jars()
    assert kafka_jars.kafka_jars() == [jar]
    jar.write_text("tampered later")
    assert kafka_jars.kafka_jars() == [jar]
    assert jar.read_text() == "a"
    assert fetched == ["tampered", "a", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jar", jar.parent.name, "lock"]


def test_the_pace_is_settings_that_exist() -> None:
    assert PACE.keys() <= Settings.model_fields.keys()
    settings = Settings(**PACE)
    assert settings.effect_lease_s > settings.effect_call_s
    assert environment({"effect_call_s": 1.5}) == {"PAIDONCE_EFFECT_CALL_S": "1.5"}
    assert new_secret() != new_secret()


def test_a_private_file_is_whole_and_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "up.json"
    state.write_private(file, {"api": "a"})
    state.write_private(file, {"api": "b"})
    assert json.loads(file.read_text()) == {"api": "b"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        state.write_private(file, object())
    assert [path.name for path in tmp_path.iterdir()] == ["up.json"]
    assert json.loads(file.read_text()) == {"api": "b"}
