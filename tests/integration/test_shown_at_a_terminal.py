"""What somebody wrote into a message does nothing to the terminal of who looks at it."""

import pytest
from typer.testing import CliRunner

from paidonce.app import db
from paidonce.app.clock import SystemClock
from paidonce.app.messaging import dead_letters
from paidonce.app.settings import Settings
from paidonce.app.trail.model import Entry
from paidonce.cli import app
from paidonce.workers import trail

#: Clears the screen, names the window, and begins a line that looks like ours.
HOSTILE = "m\x1b[2J\x1b]0;x\x07\x9b2J\r\n8  ledger  done"


def test_a_dead_letter_obeys_nobody(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paidonce.app.settings.settings", lambda: settings)
    bind = db.engine(settings, size=1)
    with bind.begin() as tx:
        dead_letters.add(
            tx,
            consumer="ledger",
            message_id=HOSTILE,
            key=None,
            envelope={"headers": []},
            value=f"a\tb\n{HOSTILE}".encode(),
            reason=HOSTILE,
        )
        [letter] = dead_letters.find(tx, consumer=None, state=None, limit=1)
    bind.dispose()
    listed = CliRunner().invoke(app, ["dead-letters", "list"]).output
    assert listed.count("\n") == 1
    shown = CliRunner().invoke(app, ["dead-letters", "show", str(letter.id)]).output
    assert "a\tb\n" in shown
    for output in (listed, shown):
        assert "ledger" in output
        assert not set(output) & set("\x1b\x07\x9b\r")


def test_a_trail_obeys_nobody() -> None:
    entry = Entry(at=SystemClock().now(), stage="dead_letter", what="dead", ids={"message_id": HOSTILE})
    shown = trail._entry(entry).plain
    assert shown.count("\n") == 1
    assert not set(shown) & set("\x1b\x07\x9b\r")
