"""What the console shows and does: headers, forms, dead letters, brakes; and that it escapes whatever it shows."""

import re

import pytest
from sqlalchemy import Engine

from paidonce.app import audit
from paidonce.app.messaging import brakes, dead_letters, effects

HOSTILE = "<script>window.struck=1</script><img src=x onerror=window.struck=1>\"'>"
OLGA = "olga@operations.example"

pytestmark = pytest.mark.slow


@pytest.fixture
def letter(bind: Engine) -> int:
    return put(bind, HOSTILE)


def put(bind: Engine, reason: str, consumer: str = "ledger") -> int:
    with bind.begin() as tx:
        envelope = {"headers": [], "topic": HOSTILE, "partition": 0, "offset": 7}
        value = f'{{"metadata": {{"note": "{HOSTILE[:32]}"}}}}'.encode()
        dead_letters.add(
            tx, consumer=consumer, message_id=f"m-{reason}", key=HOSTILE, envelope=envelope, value=value, reason=reason
        )
        return dead_letters.find(tx, consumer=consumer, state=None, limit=1)[0].id


def hidden(olga, path: str, name: str) -> str:
    """What a form of the page carries along."""
    return re.findall(rf'name="{name}" value="([^"]*)"', olga.page(path))[0]


def state(bind: Engine, letter: int) -> str:
    with bind.connect() as tx:
        found = dead_letters.get(tx, letter)
        assert found is not None
        return found.state


def decided(bind: Engine) -> list[tuple[str, ...]]:
    with bind.connect() as tx:
        return [(one.actor, one.via, one.action, one.reason) for one in audit.newest(tx, limit=10)]


def test_every_answer_says_that_nothing_else_is_loaded_framed_or_kept(olga) -> None:
    for path in ("/", "/audit", "/nowhere", "/login", "/callback", "/style.css", "/healthz"):
        headers = olga.get(path).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'", path
        assert policy["frame-ancestors"] == "'none'"
        assert policy["base-uri"] == "'none'"
        assert "script-src" not in policy
        assert not [value for value in policy.values() if "unsafe" in value or "http" in value or "data:" in value]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


FORGED: tuple[dict[str, str | None], ...] = (
    {"form_token": ""},
    {"form_token": "x" * 43},
    {"origin": None},
    {"origin": "null"},
    {"origin": "https://evil.example"},
)


def test_a_form_of_another_site_does_nothing(olga, bind: Engine, letter: int) -> None:
    with bind.begin() as tx:
        brakes.engage(tx, "ledger", "poison")
    form = {"form_token": olga.form_token(), "reason": "because", "sure": "yes", "redrives": "0"}
    posts = [route.path for route in olga.app.routes if route.methods == {"POST"}]
    assert len(posts) == 4
    for path in posts:
        for forged in FORGED:
            address = path.replace("{letter_id:int}", str(letter)).replace("{consumer}", "ledger")
            assert olga.post(address, **form | forged).status_code == 403, path
    assert state(bind, letter) == "dead"
    assert decided(bind) == []
    assert olga.get("/audit").status_code == 200, "still logged in"


def test_a_redrive_needs_a_reason_and_is_in_the_audit(olga, bind: Engine, letter: int) -> None:
    page, token = f"/dead-letters/{letter}", olga.form_token()
    refused = olga.post(f"{page}/redrive", form_token=token, reason="  ")
    assert (refused.status_code, state(bind, letter)) == (422, "dead")
    done = olga.post(f"{page}/redrive", form_token=token, reason="deployed 4.2", redrives="0")
    assert (done.status_code, done.headers["location"]) == (303, page)
    assert state(bind, letter) == "redriven"
    assert decided(bind) == [(OLGA, "console", "redrive", "deployed 4.2")]
    assert "deployed 4.2" in olga.page(page)
    again = olga.post(f"{page}/redrive", form_token=token, reason="twice", redrives="0")
    assert again.status_code == 409
    assert "redriven already" in again.text
    assert len(decided(bind)) == 1


def test_a_discard_is_confirmed_first(olga, bind: Engine, letter: int) -> None:
    page, token = f"/dead-letters/{letter}", olga.form_token()
    refused = olga.post(f"{page}/discard", form_token=token, reason="a test order")
    assert (refused.status_code, state(bind, letter)) == (422, "dead")
    assert "a test order</textarea>" in refused.text, "nobody types it twice"
    form = {"form_token": token, "reason": "a test order", "redrives": "0"}
    assert olga.post(f"{page}/discard", **form, sure="yes").status_code == 303
    assert state(bind, letter) == "discarded"
    assert decided(bind) == [(OLGA, "console", "discard", "a test order")]


def test_a_brake_is_released_with_a_reason(olga, bind: Engine) -> None:
    with bind.begin() as tx:
        brakes.engage(tx, "ledger", HOSTILE)
    assert HOSTILE not in olga.page("/brakes/ledger")
    token = olga.form_token()
    assert olga.post("/brakes/ledger/release", form_token=token).status_code == 422
    form = {"form_token": token, "since": hidden(olga, "/brakes/ledger", "since")}
    assert olga.post("/brakes/ledger/release", **form, reason="mended").status_code == 303
    assert decided(bind) == [(OLGA, "console", "release", "mended")]
    assert olga.get("/brakes/ledger").status_code == 404
    assert olga.post("/brakes/ledger/release", **form, reason="twice").status_code == 409


def test_whatever_is_shown_is_escaped(olga, bind: Engine, letter: int) -> None:
    with bind.begin() as tx:
        effects.create(tx, kind=HOSTILE, subject=HOSTILE, tenant=HOSTILE, request=b"{}")
        tx.exec_driver_sql("UPDATE effects SET state = 'unknown'")
    olga.post(f"/dead-letters/{letter}/redrive", form_token=olga.form_token(), reason=HOSTILE, redrives="0")
    found = [
        olga.page("/dead-letters?state=all"),
        olga.page(f"/dead-letters/{letter}"),
        olga.page("/effects"),
        olga.page("/audit"),
        olga.page("/"),
        olga.get(
            "/search",
        ).text,
        olga.http.get("/search", params={"q": HOSTILE}).text,
    ]
    assert "&lt;script&gt;" in "".join(found)
    for page in found:
        assert "<script" not in page
        assert "<img" not in page


def test_what_is_not_there_is_said(olga) -> None:
    assert olga.get("/payments/0199cafe-0000-7000-8000-000000000000").status_code == 404
    assert "No payment is, or has" in olga.page("/search?q=order-404")
    assert olga.get("/nowhere").status_code == 404


def test_letters_are_chosen_by_state_and_consumer(olga, bind: Engine) -> None:
    mine, other = put(bind, "one", "mine"), put(bind, "two", "other")
    assert f'"/dead-letters/{mine}"' in olga.page("/dead-letters?consumer=mine")
    assert f'"/dead-letters/{other}"' not in olga.page("/dead-letters?consumer=mine")
    assert f'"/dead-letters/{mine}"' not in olga.page("/dead-letters?state=done")
    assert olga.get("/dead-letters?consumer=nobody").status_code == 404
    assert olga.get("/dead-letters?state=nobody").status_code == 404
    assert olga.get("/dead-letters/999999999999999999999999").status_code == 404
    assert olga.get("/dead-letters/424242").status_code == 404


def test_the_overview_says_what_needs_a_person(olga, bind: Engine, letter: int) -> None:
    page = olga.page("/")
    assert "no cleaner holds its lease" in page
    assert "PostgreSQL" in page
    assert page.count("<svg") == 6
    assert 'http-equiv="refresh"' not in page, "nothing moves under who reads"
    assert 'http-equiv="refresh"' in olga.page("/?refresh")


def test_what_is_no_form_is_refused(olga, letter: int) -> None:
    headers = {"Origin": olga.origin, "Content-Type": "application/x-www-form-urlencoded"}
    begun = f"form_token={olga.form_token()}&reason="
    for rest in ("%ff", "a" * 20_000, "a&b=1" * 40, "\u00e9"):
        answer = olga.http.post(f"/dead-letters/{letter}/redrive", content=(begun + rest).encode(), headers=headers)
        assert answer.status_code == 400, rest[:20]


def test_it_is_ready_when_somebody_can_log_in_and_the_database_was_seen(olga) -> None:
    olga.page("/")
    assert olga.get("/readyz").status_code == 200
