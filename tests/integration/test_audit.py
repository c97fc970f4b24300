"""Who decided about dead letters and brakes is written in the transaction that does it, and stays as it is."""

import getpass
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner, Result

from paidonce.app import audit
from paidonce.app.audit import By
from paidonce.app.db import engine
from paidonce.app.messaging import brakes, dead_letters
from paidonce.app.settings import Settings
from paidonce.cli import app
from paidonce.workers import dead_letters as work

BY = By("ann", "console", "looked into it")


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    opened = engine(settings, size=1)
    yield opened
    opened.dispose()


@pytest.fixture
def letter(bind: Engine) -> int:
    with bind.begin() as tx:
        dead_letters.add(
            tx, consumer="ledger", message_id="m-1", key="k", envelope={"headers": []}, value=b"{}", reason="bad"
        )
        return dead_letters.find(tx, consumer=None, state=None, limit=1)[0].id


def entries(bind: Engine) -> list[tuple[str, ...]]:
    with bind.connect() as tx:
        return [tuple(one[2:]) for one in audit.newest(tx, limit=10)]


def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr("paidonce.app.settings.settings", lambda: settings)
    return CliRunner().invoke(app, list(arguments))


def test_what_is_done_has_its_row_and_what_is_refused_has_none(bind: Engine, settings: Settings, letter: int) -> None:
    assert work.redrive(bind, settings, letter, BY).done
    assert work.discard(bind, letter, BY).refused
    assert work.discard(bind, letter + 1, BY).refused
    about = "ledger, message m-1"
    assert entries(bind) == [("ann", "console", "redrive", f"dead letter {letter}", about, "looked into it")]


def test_without_the_row_nothing_is_done(
    bind: Engine, settings: Settings, letter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(audit, "write", fails)
    with pytest.raises(RuntimeError):
        work.discard(bind, letter, BY)
    with bind.connect() as tx:
        assert dead_letters.count(tx, "ledger") == 1


def test_the_command_line_writes_the_account_and_the_reason(
    bind: Engine, settings: Settings, letter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bind.begin() as tx:
        brakes.engage(tx, "ledger", "5 of 5 were poison")
    did = command(settings, monkeypatch, "brake", "release", "ledger", "--reason", "mended")
    assert did.exit_code == 0, did.output
    did = command(settings, monkeypatch, "dead-letters", "discard", str(letter), "--yes", "--reason", "a test order")
    assert did.exit_code == 0, did.output
    me = (getpass.getuser(), "command line")
    assert entries(bind) == [
        (*me, "discard", f"dead letter {letter}", "ledger, message m-1", "a test order"),
        (*me, "release", "brake of ledger", "5 of 5 were poison", "mended"),
    ]


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'bob'", "DELETE FROM audit", "TRUNCATE audit"])
def test_nobody_changes_what_is_written(bind: Engine, settings: Settings, letter: int, statement: str) -> None:
    work.discard(bind, letter, BY)
    with bind.connect() as tx, pytest.raises(DBAPIError, match="append-only"):
        tx.execute(text(statement))
    assert len(entries(bind)) == 1
