"""A dead letter is redriven from its row, once, under its id; what cannot be redriven says why, and stays as it is."""

import json
import signal
from datetime import timedelta

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from paidonce.app.audit import By
from paidonce.app.errors import PaidonceError
from paidonce.app.messaging import dead_letters, effects
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outcomes import Poison, RetryLater
from paidonce.cli import app
from paidonce.workers import dead_letters as work
from paidonce.workers.consumer_brake import BrakedError

BY = By("ann", "command line", "a test")


class Deploy:
    """A handler that condemns the keys in `bad`, for `reason`, and does all others."""

    def __init__(self, rig, *bad: str):
        self.rig, self.bad, self.reason = rig, set(bad), "bad deploy"

    def __call__(self, tx, message):
        return Poison(self.reason) if message.key in self.bad else self.rig.note(tx, message)


@pytest.fixture
def command(rig, monkeypatch):
    """The command line, on the rig's database."""
    monkeypatch.setattr("paidonce.app.settings.settings", lambda: rig.settings)

    def run(*arguments: str):
        return CliRunner().invoke(app, ["dead-letters", *arguments])

    return run


def letters(rig) -> list:
    return rig.rows("SELECT id, message_id, state, reason, redrives FROM dead_letters ORDER BY id")


def die(rig, *keys: str) -> tuple:
    """Send one message a key, of which all die; return handler, member and events."""
    handler, sent = Deploy(rig, *keys), [rig.event(key) for key in keys]
    member = rig.member(handler)
    rig.send(sent)
    rig.run(member, until=lambda: rig.committed() == len(sent))
    assert [row.state for row in letters(rig)] == ["dead"] * len(sent)
    return handler, member, sent


def test_a_redriven_message_is_done_once_under_its_id_and_not_by_the_topic(rig, command) -> None:
    handler, member, [sent] = die(rig, "a")
    handler.bad.clear()
    [letter] = letters(rig)
    assert command("redrive", str(letter.id)).output == "1 redriven\n"
    again = command("redrive", str(letter.id))
    assert (again.exit_code, again.stdout) == (1, "0 redriven\n")
    assert "redriven already, and waits" in again.stderr
    rig.run(member, until=lambda: letters(rig)[0].state == "done")
    assert rig.worked() == [str(sent.id)]
    assert rig.committed() == 1, "nothing went through the topic"
    late = command("redrive", str(letter.id))
    assert (late.exit_code, "redriven already, and is done" in late.stderr) == (1, True)
    rig.send([sent])
    rig.run(member, until=lambda: rig.committed() == 2)
    assert rig.worked() == [str(sent.id)], "the inbox knows its id as before"
    assert rig.scalar("SELECT count(*) FROM parked") == 0


def test_poison_again_is_the_same_letter_with_the_new_reason(rig) -> None:
    handler, member, [sent] = die(rig, "a")
    for redrives, reason in enumerate(("still bad", "bad once more"), 1):
        handler.reason = reason
        [letter] = letters(rig)
        assert work.redrive(rig.bind, rig.settings, letter.id, BY).done
        rig.run(member, until=lambda: letters(rig)[0].state == "dead")
        assert letters(rig) == [(letter.id, str(sent.id), "dead", reason, redrives)]
    assert rig.scalar("SELECT settled_at FROM dead_letters") is None


def test_a_redriven_message_waits_behind_those_of_its_key_and_later_ones_behind_it(rig) -> None:
    """It lost its place when it died: what waits already goes first."""
    answers = {}

    def handler(tx, message):
        return answers.get(message.message_id) or rig.note(tx, message)

    dies, waits, behind, late, other = (rig.event(key) for key in ("k", "k", "k", "k", "other"))
    answers[str(dies.id)] = Poison("bad")
    answers[str(waits.id)] = RetryLater(timedelta(milliseconds=1), "not yet")
    member = rig.member(handler)
    rig.send([dies, waits, behind])
    rig.run(member, until=lambda: rig.committed() == 3)
    del answers[str(dies.id)]
    assert work.redrive(rig.bind, rig.settings, letters(rig)[0].id, BY).done
    rig.send([late, other])
    rig.run(member, until=lambda: rig.worked() == [str(other.id)])
    answers.clear()
    rig.run(member, until=lambda: len(rig.worked()) == 5)
    assert rig.worked()[1:] == [str(one.id) for one in (waits, behind, dies, late)]


def test_all_of_a_consumer_are_redriven_and_nobody_elses(rig, command) -> None:
    handler, member, sent = die(rig, *(str(n) for n in range(7)))
    with rig.bind.begin() as tx:
        dead_letters.add(tx, consumer="another", message_id="1", key=None, envelope={}, value=None, reason="r")
    handler.bad = {"3"}
    assert command("redrive", "--consumer", rig.name, "--all").output == "7 redriven\n"
    rig.run(member, until=lambda: rig.scalar("SELECT count(*) FROM parked") == 0)
    assert rig.worked() == [str(one.id) for one in sent if one.aggregateid != "3"]
    states = rig.rows("SELECT consumer, state, count(*) FROM dead_letters GROUP BY 1, 2 ORDER BY 1, 2")
    assert sorted(states) == sorted([("another", "dead", 1), (rig.name, "dead", 1), (rig.name, "done", 6)])
    none = command("redrive", "--consumer", "ledger", "--all")
    assert isinstance(none.exception, PaidonceError)
    assert "no letter of ledger is dead; there are dead letters of another, " in str(none.exception)


def test_more_letters_than_a_page_are_redriven(rig, monkeypatch) -> None:
    monkeypatch.setattr(work, "PAGE", 3)
    die(rig, *"abcdefg")
    assert [bool(one.done) for one in work.redrive_all(rig.bind, rig.settings, rig.name, BY)] == [True] * 7
    assert list(work.redrive_all(rig.bind, rig.settings, rig.name, BY)) == []


def test_what_cannot_be_redriven_says_why_and_stays_as_it_is(rig, command) -> None:
    die(rig, "old", "discarded")
    old, discarded = (row.id for row in letters(rig))
    with rig.bind.begin() as tx:
        tx.execute(
            text("UPDATE dead_letters SET created_at = now() - interval '14.5 days' WHERE id = :id"), {"id": old}
        )
        for consumer, envelope in (("provider-alarms", {"payment_status": "declined"}), (rig.name, {"headers": []})):
            found = {"message_id": consumer, "key": None, "envelope": envelope, "value": None, "reason": "r"}
            dead_letters.add(tx, consumer=consumer, **found)
        dead_letters.discarded(tx, discarded)
    alarm, tombstone = (row.id for row in letters(rig)[2:])
    before = rig.rows("SELECT * FROM dead_letters ORDER BY id")
    said = command("redrive", str(old), str(discarded), str(alarm), str(tombstone), "999999")
    assert said.exit_code == 1
    assert said.stdout == "0 redriven\n"
    lines = dict(line.split(": ", 1) for line in said.stderr.splitlines())
    assert "14.5 days old" in lines[str(old)]
    assert "end after 14 (PAIDONCE_REDRIVE_HORIZON_D)" in lines[str(old)]
    assert "35 (PAIDONCE_INBOX_RETENTION_D)" in lines[str(old)]
    assert lines[str(discarded)] == "it was discarded"
    assert "alarm of provider-alarms" in lines[str(alarm)]
    assert "tombstone" in lines[str(tombstone)]
    assert lines["999999"] == "there is no such dead letter"
    assert rig.rows("SELECT * FROM dead_letters ORDER BY id") == before
    assert rig.scalar("SELECT count(*) FROM parked") == 0


def test_letters_are_discarded_only_on_purpose(rig, command) -> None:
    die(rig, "a")
    [letter] = letters(rig)
    refused = command("discard", str(letter.id))
    assert (refused.exit_code, "--yes" in refused.output) == (2, True)
    assert letters(rig)[0].state == "dead"
    assert command("discard", str(letter.id), "--yes").output == "1 discarded\n"
    assert letters(rig)[0].state == "discarded"
    again = command("discard", str(letter.id), "--yes", "--json")
    assert (again.exit_code, json.loads(again.stdout)) == (
        1,
        [{"id": letter.id, "done": "", "refused": "it was discarded"}],
    )


def test_list_and_show_tell_all_and_the_payload_is_shown_by_show_only(rig, command) -> None:
    _, _, sent = die(rig, "a", "b")
    rig.raw(b"c", b"\xff secret", [("message-id", b"binary"), ("ce_type", b"order.placed")])
    rig.producer.flush()
    rig.run(rig.members[0], until=lambda: rig.committed() == 3)
    first, second, third = letters(rig)
    listed = command("list", "--consumer", rig.name)
    assert [line.split("  ")[0] for line in listed.stdout.splitlines()] == [
        str(one.id) for one in (third, second, first)
    ]
    assert f"{rig.settings.topic}[0]@1" in listed.stdout
    assert "bad deploy" in listed.stdout
    as_json = command("list", "--limit", "1", "--json")
    [document] = json.loads(as_json.stdout)
    assert (document["partition"], document["offset"]) == (0, 2)
    assert document["message_id"].startswith(f"record:{rig.settings.topic}:0:2@")
    assert "secret" not in listed.stdout + as_json.stdout
    assert command("list", "--state", "done").stdout == ""
    elsewhere = command("list", "--consumer", "ledger")
    assert (elsewhere.exit_code, f"there are dead letters of {rig.name}" in elsewhere.stderr) == (0, True)
    assert command("list", "--state", "nonsense").exit_code == 2
    shown = json.loads(command("show", str(first.id), "--json").stdout)
    assert shown["value"] == "{}"
    assert dict(shown["envelope"]["headers"])["message-id"] == str(sent[0].id)
    assert json.loads(command("show", str(third.id), "--json").stdout)["value"] == {"base64": "/yBzZWNyZXQ="}
    assert "reason: bad deploy" in command("show", str(second.id)).stdout
    assert str(command("show", "999999").exception) == "there is no dead letter 999999"


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["redrive", "--all"]])
def test_a_consumer_that_does_not_exist_is_refused_with_those_that_do(rig, command, arguments) -> None:
    """A name that was mistyped must not look like a consumer without dead letters."""
    refused = command(*arguments, "--consumer", "ledgr")
    assert (refused.exit_code, refused.stdout) == (1, "")
    said = str(refused.exception)
    assert "there is no consumer 'ledgr': it is one of charges, ledger, notifications, provider-alarms" in said
    assert command("list", "--consumer", "charges").exit_code == 0


def test_a_redrive_needs_either_ids_or_all_of_a_consumer(command) -> None:
    for wrong in (
        [],
        ["--all"],
        ["--consumer", "x"],
        ["1", "--consumer", "x", "--all"],
        ["1", "--all"],
        ["0"],
        [str(2**63)],
    ):
        assert command("redrive", *wrong).exit_code == 2, wrong


def test_a_redrive_for_a_consumer_that_stands_still_says_that_it_waits(rig, command) -> None:
    _, member, _ = die(rig, "a")
    with rig.bind.begin() as tx:
        tx.execute(text("INSERT INTO brakes (consumer, reason) VALUES (:name, 'r')"), {"name": rig.name})
    rig.run(member, until=lambda: member.braked is not None)
    said = command("redrive", str(letters(rig)[0].id))
    assert (said.exit_code, f"paidonce brake release {rig.name}" in said.stderr) == (0, True)
    with pytest.raises(BrakedError):
        member.run_once()
    assert letters(rig)[0].state == "redriven"


def test_a_redriven_message_that_this_program_does_not_know_is_dead_again(rig) -> None:
    """What the decoder refused is refused again, by the same rules, until a program that knows it is deployed."""
    rig.raw(b"k", b"{}", [("message-id", b"later"), ("ce_type", b"payment.captured"), ("ce_dataschema", b"v2")])
    rig.raw(b"k", b"{}", [("message-id", b"future"), ("ce_type", b"payment.captured"), ("ce_specversion", b"2.0")])
    rig.producer.flush()
    member = rig.member()
    rig.run(member, until=lambda: rig.committed() == 2)
    assert [bool(one.done) for one in work.redrive_all(rig.bind, rig.settings, rig.name, BY)] == [True, True]
    rig.run(member, until=lambda: [row.state for row in letters(rig)] == ["dead", "dead"])
    assert [row.redrives for row in letters(rig)] == [1, 1]
    assert rig.worked() == []
    rig.leave(member)
    newer = each(rig.name, {"payment.captured": rig.note}, dataschemas=frozenset({"v2"}))
    assert work.redrive(rig.bind, rig.settings, letters(rig)[0].id, BY).done
    rig.run(rig.member(newer), until=lambda: letters(rig)[0].state == "done")
    assert rig.worked() == ["later"]


def test_a_webhook_that_nobody_took_is_pending_again_and_its_letter_learns_the_end(rig) -> None:
    with rig.bind.begin() as tx:
        effects.create(tx, kind="webhook", subject="event-1", tenant="acme", request=b"{}")
        found = {"key": "acme", "envelope": {"tenant": "acme"}, "value": b"{}", "reason": "410"}
        dead_letters.add(tx, consumer="webhook-delivery", message_id="event-1", **found)
    [letter] = letters(rig)
    assert "not refused" in work.redrive(rig.bind, rig.settings, letter.id, BY).refused
    with rig.bind.begin() as tx:
        tx.execute(text("UPDATE effects SET state = 'refused', next_attempt_at = NULL, first_sent_at = now()"))
    assert work.redrive(rig.bind, rig.settings, letter.id, BY).done == "its webhook is sent again"
    assert rig.rows("SELECT state, first_sent_at, next_attempt_at <= now() FROM effects") == [("pending", None, True)]
    assert rig.column("SELECT event FROM effect_history ORDER BY id") == ["created", "redriven"]
    assert letters(rig)[0].state == "redriven"
    with rig.bind.begin() as tx:
        dead_letters.done(tx, consumer="webhook-delivery", message_id="event-1")
    assert letters(rig)[0].state == "done"


@pytest.mark.slow
def test_a_redriven_message_that_kills_its_process_is_the_same_letter_again(rig, start) -> None:
    """Its starts are counted anew, alone as ever; the reason says that it died."""
    sent = [rig.event(str(n)) for n in range(3)]
    rig.send(sent)
    first = start("poison:1")
    rig.until(lambda: rig.committed() == 3)
    first.terminate()
    assert first.wait(timeout=30) == 0
    [letter] = letters(rig)
    assert work.redrive(rig.bind, rig.settings, letter.id, BY).done
    codes = []
    while codes[-1:] in ([], [-signal.SIGKILL]) and len(codes) < 5:
        process = start("now:1", consumer_alone_starts=2, consumer_session_s=1.0)
        rig.until(lambda: process.poll() is not None or letters(rig)[0].state == "dead")  # noqa: B023  called at once
        if process.poll() is None:
            process.terminate()
        codes.append(process.wait(timeout=30))
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    [again] = letters(rig)
    assert (again.id, again.state, again.redrives) == (letter.id, "dead", 1)
    assert "died each of the 2 times" in again.reason
    assert rig.worked_keys() == ["0", "2"]
