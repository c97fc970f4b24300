"""What an attacker, a second operator, or an unlucky payload makes of the console: each was a fault of it once."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from paidonce.app import audit
from paidonce.app.audit import REASON_CHARS_MAX
from paidonce.app.clock import new_id
from paidonce.app.messaging import brakes, dead_letters
from paidonce.app.settings import Settings
from paidonce.console import decisions
from paidonce.devstack.issuer.clients import OPERATIONS
from paidonce.devstack.pace import environment
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.waiting import until

REASON = "an operator's reason"


def put(bind: Engine, value: bytes = b"{}") -> int:
    """A dead letter of the ledger."""
    with bind.begin() as tx:
        envelope = {"headers": [], "topic": "payments", "partition": 0, "offset": 7}
        dead_letters.add(
            tx, consumer="ledger", message_id=str(new_id()), key="k", envelope=envelope, value=value, reason="bad"
        )
        return dead_letters.find(tx, consumer=None, state=None, limit=1)[0].id


def state(bind: Engine, letter: int) -> str:
    with bind.connect() as tx:
        found = dead_letters.get(tx, letter)
        assert found is not None
        return found.state


DEEP = b"[" * 300 + b"]" * 300


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (DEEP, DEEP.decode()),
        (b'{"amount":1,"amount":2}', "{&#34;amount&#34;:1,&#34;amount&#34;:2}"),
        (b'{"amount":12345678901234567890123}', "12345678901234567890123"),
        (b'{"note":"\\ud800"}', "\\ud800"),
        (b'{"a": 1}', "{\n  &#34;a&#34;: 1\n}"),
    ],
    ids=["deep", "twice", "long", "half a character", "plain"],
)
def test_a_payload_is_shown_as_it_is_and_can_be_given_up(olga, bind: Engine, payload: bytes, shown: str) -> None:
    letter = put(bind, payload)
    assert shown in olga.page(f"/dead-letters/{letter}")
    form = {"form_token": olga.form_token(), "reason": REASON, "sure": "yes", "redrives": "0"}
    assert olga.post(f"/dead-letters/{letter}/discard", **form).status_code == 303
    assert state(bind, letter) == "discarded"


@pytest.mark.parametrize("act", ["redrive", "discard"])
def test_a_letter_that_is_dead_for_another_reason_by_now_is_another_decision(olga, bind: Engine, act: str) -> None:
    letter = put(bind)
    form = {"form_token": olga.form_token(), "reason": REASON, "sure": "yes", "redrives": "0"}
    with bind.begin() as tx:
        dead_letters.redriven(tx, letter)
        tx.execute(text("UPDATE dead_letters SET state = 'dead', reason = 'worse'"))
    for stale in (form, form | {"redrives": ""}, form | {"redrives": "x"}):
        answer = olga.post(f"/dead-letters/{letter}/{act}", **stale)
        assert (answer.status_code, state(bind, letter)) == (409, "dead")
        assert "read why" in answer.text
        assert "worse" in answer.text
    [seen, _] = re.findall(r'name="redrives" value="(\d+)"', olga.page(f"/dead-letters/{letter}"))
    assert olga.post(f"/dead-letters/{letter}/{act}", **form | {"redrives": seen}).status_code == 303


def test_a_brake_that_is_engaged_again_is_another_decision(olga, bind: Engine) -> None:
    with bind.begin() as tx:
        brakes.engage(tx, "ledger", "the first")
    with bind.connect() as tx:
        [seen] = brakes.all_engaged(tx)
    with bind.begin() as tx:
        brakes.release(tx, "ledger")
    with bind.begin() as tx:
        brakes.engage(tx, "ledger", "the second")
    token = olga.form_token()
    for since in (seen.engaged_at.isoformat(), "", "0001-01-01", "soon"):
        answer = olga.post("/brakes/ledger/release", form_token=token, reason=REASON, since=since)
        assert answer.status_code == 409, since
        assert "the second" in answer.text
        assert REASON.replace("'", "&#39;") in answer.text, "nobody types it twice"
    with bind.connect() as tx:
        assert brakes.engaged(tx, "ledger") == "the second"


@pytest.mark.parametrize(
    "said", ['{"asked": "look_up", "answer": "NotFound"}', '{"asked": "call", "answer": "X", "code": "c"}']
)
def test_an_unknown_effect_is_shown_whatever_was_last_said_of_it(olga, bind: Engine, said: str) -> None:
    effect = new_id()
    with bind.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO effects (id, kind, subject, tenant, request, state)"
                " VALUES (:id, 'charge', 's', 'acme', '{}', 'unknown')"
            ),
            {"id": effect},
        )
        tx.execute(
            text(
                "INSERT INTO effect_history (effect_id, event, state, detail)"
                " VALUES (:id, 'answered', 'unknown', CAST(:said AS jsonb))"
            ),
            {"id": effect, "said": said},
        )
    page = olga.page("/effects")
    assert "look_up: NotFound" in page or "call: X, c" in page


def test_what_nobody_foresaw_is_answered_with_the_same_headers(olga, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(decisions, "oldest_unknown", fails)
    answer = olga.get("/effects")
    assert answer.status_code == 500
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_database_that_answers_is_not_called_away(olga, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ProgrammingError("SELECT", {}, psycopg.errors.InsufficientPrivilege("permission denied"))

    monkeypatch.setattr(audit, "newest", fails)
    form = {"form_token": olga.form_token(), "reason": REASON}
    assert olga.post("/brakes/%00/release", **form).status_code == 409, "no name that PostgreSQL could not hold"
    assert olga.get("/audit").status_code == 500


def test_nobody_is_led_to_the_host_of_a_header(browser) -> None:
    answer = browser.http.get("/audit/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_a_reason_of_the_longest_characters_and_lines_is_taken_and_an_empty_one_is_not(olga, bind: Engine) -> None:
    letter = put(bind)
    form = {"form_token": olga.form_token(), "redrives": "0"}
    assert olga.post(f"/dead-letters/{letter}/redrive", **form, reason="\0\0").status_code == 422
    reason = "\r\n".join(["\U0001f4b6" * (REASON_CHARS_MAX // 2)] * 2)[: REASON_CHARS_MAX + 1]
    assert olga.post(f"/dead-letters/{letter}/redrive", **form, reason=reason).status_code == 303
    with bind.connect() as tx:
        assert audit.newest(tx, limit=1)[0].reason == reason.replace("\r\n", "\n")


@pytest.mark.slow
def test_who_does_not_read_holds_no_stop(own: Settings, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    more = {"dsn": own.dsn.get_secret_value(), "issuer": own.issuer, "console_port": port, "stop_s": 1.0}
    given = environment(more) | {"PAIDONCE_CONSOLE_TENANTS": f'["{OPERATIONS}"]'}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "paidonce.cli", "console"], env=os.environ | given, stdout=out, stderr=out
        )
    try:
        until(lambda: _listens(port), within_s=30, what="the console")
        with socket.create_connection((LOOPBACK, port)) as deaf:
            deaf.setblocking(False)
            asked = b"GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n" * 100
            until(lambda: not _takes(deaf, asked), within_s=30, what="the console to wait for who does not read")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(30)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def _takes(connection: socket.socket, content: bytes) -> bool:
    """Send what is taken at once; False: nothing is."""
    try:
        connection.send(content)
    except BlockingIOError:
        return False
    return True
