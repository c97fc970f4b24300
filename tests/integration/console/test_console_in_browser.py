"""The console in a real browser, on a whole stack: by mouse, by keyboard, on a desk and on a phone, light and dark.

The pictures are left in `reports/console/`, for a human to look at.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from paidonce.app import audit, db
from paidonce.app.messaging import brakes, dead_letters
from paidonce.app.messaging.envelope import Event, encode
from paidonce.devstack.chromium import find_chromium
from paidonce.devstack.issuer.first_people import operator
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.console, pytest.mark.timeout(300)]

PICTURES = Path("reports/console")
SIZES = {"phone": (360, 740), "desk": (1280, 900)}
HOSTILE = "<script>window.struck=1</script><img src=//evil.test/x onerror=window.struck=1>"
REASON = f"the handler raised KeyError: 'amount' while it read {HOSTILE}"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(console=True, overrides={"console_look_s": 1.0, "brake_window": 5}) as started:
        yield started


@pytest.fixture(scope="module")
def paid(stack: Stack) -> str:
    """The id of a payment that was captured and partly refunded, and looks at all that happened meanwhile."""
    headers = {"Authorization": f"Bearer {stack.token()}"}
    body = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok", "reference": "order-77"}
    body |= {"metadata": {"note": HOSTILE}}
    with httpx.Client(base_url=stack.addresses.api, headers=headers, trust_env=False) as api:
        for number in range(20):
            key = {"Idempotency-Key": f"console-{number}"}
            made = api.post("/v1/payments", json=body | {"reference": f"order-{number}"}, headers=key)
            assert made.status_code == 201, made.text
        place, payment = made.headers["location"], made.json()["id"]
        until(lambda: api.get(place).json()["status"] == "captured", within_s=60, what="the capture")
        api.post(f"{place}/refunds", json={"amount": 500}, headers={"Idempotency-Key": "console-refund"})
        until(lambda: api.get(place).json()["amount_refunded"] == 500, within_s=60, what="the refund")
        api.post("/v1/payments", json=body | {"payment_method": "pm_timeout"}, headers={"Idempotency-Key": "slow"})
    return str(payment)


def dead(stack: Stack) -> int:
    """Make a dead letter for the ledger of an event that it passes over: its redrive is done, and books nothing."""
    bind = db.engine(stack.settings, size=1)
    with bind.begin() as tx:
        row = tx.exec_driver_sql(
            "SELECT id, aggregateid AS key, payload, created_at FROM outbox WHERE type = 'payment.accepted'"
            "   AND id::text NOT IN (SELECT message_id FROM dead_letters) LIMIT 1"
        ).one()
        event = Event(row.id, "payment", row.key, "payment.accepted", 1, bytes(row.payload), {})
        headers = [[name, value.decode()] for name, value in encode(event, row.created_at)]
        place = {"topic": stack.settings.topic, "partition": 0, "offset": 3, "timestamp": 0, "synthetic_id": False}
        dead_letters.add(
            tx,
            consumer="ledger",
            message_id=str(row.id),
            key=row.key,
            envelope=place | {"key": row.key, "headers": headers},
            value=event.payload,
            reason=REASON,
        )
        found = dead_letters.find(tx, consumer="ledger", state="dead", limit=1)[0].id
    bind.dispose()
    return found


def entries(stack: Stack, letter: int) -> list[tuple[str, str, str]]:
    bind = db.engine(stack.settings, size=1)
    with bind.connect() as tx:
        found = audit.newest(tx, subject=f"dead letter {letter}", limit=10)
    bind.dispose()
    return [(one.actor, one.action, one.reason) for one in found]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  installed by `make test-console` alone

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def kept(chromium: Any, stack: Stack) -> Any:
    """What a browser keeps of a login: the cookies."""
    context = chromium.new_context()
    page = context.new_page()
    log_in(page, stack)
    state = context.storage_state()
    context.close()
    return state


def log_in(page: Any, stack: Stack, to: str = "/") -> None:
    """Go to a page, be sent to the issuer, and come back to it."""
    console = stack.addresses.console
    assert console
    page.goto(console + to)
    assert page.url.startswith(stack.addresses.issuer)
    name, password = operator()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(console + to)


class Seen:
    """A tab, and whatever its pages said or asked for."""

    def __init__(self, tab: Any, stack: Stack) -> None:
        self.tab, self.console = tab, stack.addresses.console
        self.said: list[str] = []
        self.asked: list[str] = []
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))

    def check(self) -> None:
        """Nothing was said, nothing was loaded from elsewhere, nothing hostile ran, and it fits the screen."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(self.console)] == []
        width = self.tab.viewport_size["width"]
        assert self.tab.evaluate("document.documentElement.scrollWidth") <= width, self.tab.url


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tab(chromium: Any, kept: Any) -> Iterator[Any]:
    context = chromium.new_context(storage_state=kept, viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_quiet_and_fits(
    chromium: Any, stack: Stack, kept: Any, paid: str, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    context = chromium.new_context(storage_state=kept, viewport={"width": width, "height": height}, color_scheme=scheme)
    seen = Seen(context.new_page(), stack)
    letter = dead(stack)
    with db.engine(stack.settings, size=1).begin() as tx:
        brakes.engage(tx, "ledger-of-yours", "31 of the last 50 messages were poison")
    pages = {
        "overview": "/",
        "payment": f"/payments/{paid}",
        "letters": "/dead-letters?state=all",
        "letter": f"/dead-letters/{letter}",
        "effects": "/effects",
        "brake": "/brakes/ledger-of-yours",
        "audit": "/audit",
        "search": "/search?q=nothing-like-it",
    }
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, path in pages.items():
        seen.tab.goto(seen.console + path)
        seen.tab.screenshot(path=PICTURES / f"{name}-{size}-{scheme}.png", full_page=True)
        seen.check()
        assert seen.tab.locator("h1").count() == 1
        assert seen.tab.locator("[aria-current=page]").count() == (0 if name in {"payment", "brake", "search"} else 1)
        paper = seen.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in paper[4:-1].split(",")) < 3 * 128) == (scheme == "dark")
    with db.engine(stack.settings, size=1).begin() as tx:
        brakes.release(tx, "ledger-of-yours")
    context.close()


def test_an_operator_sees_health_finds_a_payment_and_reads_its_trail(tab: Any, stack: Stack, paid: str) -> None:
    seen = Seen(tab, stack)
    tab.goto(seen.console)
    for name in ("PostgreSQL", "Kafka", "Valkey", "relay", "consumer-ledger", "effects", "cleaner", "api-1", "issuer"):
        assert tab.locator(".tiles .good", has_text=name).count() >= 1, name
    assert tab.locator("svg.plot").count() == 6
    for text in ("console-19", "order-19", paid):
        tab.get_by_label("Payment, key, reference or message id").fill(text)
        tab.get_by_role("button", name="Find").click()
        tab.wait_for_url(f"**/payments/{paid}")
    stages = tab.locator(".trail .stage").all_inner_texts()
    assert {"request", "commit", "event", "window", "topic", "inbox", "effect", "ledger"} <= set(stages)
    assert tab.locator(".facts").get_by_text("no gap").is_visible()
    seen.check()


def test_a_dead_letter_is_redriven_with_a_reason_and_the_audit_says_who(tab: Any, stack: Stack, paid: str) -> None:
    letter = dead(stack)
    tab.goto(f"{stack.addresses.console}/dead-letters")
    tab.get_by_role("link", name=re.compile(f"^{letter}\\b")).click()
    assert tab.get_by_text("KeyError").first.is_visible()
    assert tab.evaluate("window.struck") is None
    redrive = tab.get_by_role("form", name="Redrive")
    redrive.get_by_role("button").click()
    assert entries(stack, letter) == [], "the browser asks for the reason first"
    redrive.get_by_label("Reason").fill("the handler is mended")
    redrive.get_by_role("button").click()
    tab.get_by_role("region", name="Decisions").get_by_text("the handler is mended").wait_for()
    assert entries(stack, letter) == [(operator()[0], "redrive", "the handler is mended")]
    tab.get_by_role("link", name="Audit").click()
    assert tab.get_by_role("cell", name="the handler is mended").is_visible()
    with psycopg.connect(stack.addresses.dsn) as connection:
        state = "SELECT state FROM dead_letters WHERE id = %s"
        until(lambda: connection.execute(state, (letter,)).fetchone() == ("done",), within_s=30, what="the ledger")


def test_a_discard_needs_its_box(tab: Any, stack: Stack, paid: str) -> None:
    letter = dead(stack)
    tab.goto(f"{stack.addresses.console}/dead-letters/{letter}")
    discard = tab.get_by_role("form", name="Discard")
    discard.get_by_label("Reason").fill("settled by hand")
    discard.get_by_role("button").click()
    assert tab.locator("#sure:invalid").count() == 1
    assert entries(stack, letter) == []
    discard.get_by_label("I mean it").check()
    discard.get_by_role("button").click()
    tab.get_by_text("it was discarded").wait_for()
    assert entries(stack, letter) == [(operator()[0], "discard", "settled by hand")]


def test_without_a_mouse(chromium: Any, stack: Stack, paid: str) -> None:
    """From the login to a decision by Tab, Space and Enter alone; what has the focus is always seen."""
    letter = dead(stack)
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(f"{stack.addresses.console}/dead-letters")
    name, password = operator()
    tab.keyboard.type(name)
    tab.keyboard.press("Tab")
    tab.keyboard.type(password)
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/dead-letters")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the page"
    tab.keyboard.press("Enter")
    walk(tab, f"/dead-letters/{letter}")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**/dead-letters/{letter}")
    walk(tab, "discard-reason")
    tab.keyboard.type("by keyboard alone")
    walk(tab, "sure")
    tab.keyboard.press("Space")
    tab.screenshot(path=PICTURES / "keyboard.png")
    walk(tab, "Discard")
    tab.keyboard.press("Enter")
    tab.get_by_text("it was discarded").wait_for()
    assert entries(stack, letter) == [(operator()[0], "discard", "by keyboard alone")]
    context.close()


#: Of what has the focus: what it is called by an address, an id or its words; and the width of its outline.
FOCUSED = """() => {
    const it = document.activeElement, style = getComputedStyle(it);
    const names = [it.getAttribute('href'), it.id, it.textContent.trim()];
    return [names, parseFloat(style.outlineWidth), style.outlineStyle];
}"""


def walk(tab: Any, to: str) -> None:
    """Press Tab until `to` has the focus."""
    for _ in range(60):
        tab.keyboard.press("Tab")
        names, width, style = tab.evaluate(FOCUSED)
        assert width >= 1, names
        assert style != "none", names
        if to in names:
            return
    raise AssertionError(f"no Tab leads to {to}")


def test_logging_out_ends_it(chromium: Any, stack: Stack) -> None:
    context = chromium.new_context()
    tab = context.new_page()
    log_in(tab, stack, "/audit")
    tab.get_by_role("button", name="Log out").click()
    assert tab.get_by_role("heading", name="You are logged out").is_visible()
    tab.go_back()
    tab.goto(f"{stack.addresses.console}/audit")
    assert tab.url.startswith(stack.addresses.issuer)
    context.close()
