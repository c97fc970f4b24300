"""Does every secret come from a file, as Kubernetes and Docker mount them? And is one that cannot be read missed?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from paidonce.app import secret_files
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings, settings
from paidonce.workers.doctor_encryption import encryption, files
from paidonce.workers.doctor_finding import WrongError

#: What has a secret in it: by its type, or as a part.
SECRETS = sorted(
    {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr} | {"valkey", "issuers"}
)
VALUES = {
    "dsn": "postgresql://u:secret@db/paidonce",
    "valkey": "redis://:secret@valkey:6379/0",
    "issuers": '[{"issuer": "https://i.example", "audiences": ["a"],'
    ' "opaque": {"client_id": "c", "client_secret": "secret"}}]',
}


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as Kubernetes makes it: the files are links into a hidden folder, which is exchanged as a whole."""
    for name in SECRETS:
        monkeypatch.delenv(f"PAIDONCE_{name.upper()}", raising=False)
    (tmp_path / "..2026_11_30").mkdir()
    (tmp_path / "..data").symlink_to("..2026_11_30")
    monkeypatch.setenv(secret_files.VARIABLE, str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def mount(folder: Path, name: str, content: str, mode: int = 0o440) -> None:
    file = folder / "..data" / name
    file.write_text(content)
    file.chmod(mode)
    (folder / name).symlink_to(f"..data/{name}")


def plain(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def test_the_list_of_secrets_is_what_it_was_when_this_was_written() -> None:
    assert {"dsn", "kafka_password", "provider_secret", "push_secret", "stripe_key", "stripe_webhook_secret"} <= {
        *SECRETS
    }


@pytest.mark.parametrize("name", SECRETS)
def test_each_comes_from_its_file_without_the_newline_at_its_end(mounted: Path, name: str) -> None:
    value = VALUES.get(name, "secret")
    mount(mounted, f"PAIDONCE_{name.upper()}", f"{value}\n")
    if name == "kafka_password":
        mount(mounted, "PAIDONCE_KAFKA_USER", "u\n")
        mount(mounted, "PAIDONCE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL\n")
    read = settings()
    found = (
        read.issuers[0].opaque.client_secret if name == "issuers" and read.issuers[0].opaque else getattr(read, name)
    )
    assert plain(found) == ("secret" if name == "issuers" else value)
    assert name == "valkey" or "secret@" not in repr(read)
    assert "from" in files(read)


def test_a_variable_goes_before_a_file(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(mounted, "PAIDONCE_PUSH_SECRET", "of the file")
    monkeypatch.setenv("PAIDONCE_PUSH_SECRET", "of the variable")
    assert settings().push_secret.get_secret_value() == "of the variable"


def test_a_folder_that_is_not_there_is_said_and_no_default_taken(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(secret_files.VARIABLE, str(mounted / "nowhere"))
    with pytest.raises(ConfigurationError, match="is no folder: mount the secrets there"):
        settings()


def test_a_file_that_is_closed_to_us_is_said(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(mounted, "PAIDONCE_DSN", VALUES["dsn"], mode=0o000)
    # Root may read everything; nobody else may.
    monkeypatch.setattr(os, "access", lambda file, _mode: bool(Path(file).stat().st_mode & 0o444))
    with pytest.raises(ConfigurationError, match=r"PAIDONCE_DSN is closed to user \d+: give"):
        settings()


@pytest.mark.parametrize(
    ("name", "content", "mode", "said"),
    [
        ("PAIDONCE_PROVIDER_SECRETT", "x", 0o440, "is no setting, so nobody reads it"),
        ("PAIDONCE_PUSH_SECRET", "x", 0o666, "can be written by everybody: chmod o-w"),
        ("PAIDONCE_PUSH_SECRET", "\n", 0o440, "is empty"),
    ],
)
def test_the_doctor_finds_files_that_are_not_as_they_should_be(
    mounted: Path, name: str, content: str, mode: int, said: str
) -> None:
    mount(mounted, name, content, mode)
    with pytest.raises(WrongError, match=said):
        files(Settings())


def test_the_doctor_names_what_leaves_this_machine_in_the_clear() -> None:
    assert "every connection" in encryption(Settings(dsn="postgresql://u@127.0.0.1/d"))
    abroad = {"dsn": "postgresql://u@db/d?sslmode=require", "kafka": "kafka:9092", "valkey": "redis://valkey"}
    assert "PostgreSQL, Kafka, Valkey" in encryption(Settings(**abroad))
    safe = {
        "dsn": "postgresql://u@db/d?sslmode=verify-full",
        "kafka": "kafka:9092",
        "kafka_security_protocol": "SSL",
        "valkey": "rediss://valkey",
    }
    assert "every connection" in encryption(Settings(**safe))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"valkey_ca": "ca.pem"}, "make it rediss://"),
        ({"valkey": "rediss://:valkey-secret@valkey?ssl_cert_reqs=none"}, "the rest is always verified"),
    ],
)
def test_a_way_to_valkey_that_verifies_nobody_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        Settings(**given)
    assert "valkey-secret" not in str(raised.value)
