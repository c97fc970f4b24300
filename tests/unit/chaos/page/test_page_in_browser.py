"""Is the page legible in a real browser? On a desk and on a phone, in light and in dark, and on paper.

The pictures are left in `reports/page/`, for a human to look at.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paidonce.chaos import page as pages
from paidonce.chaos.facts import Drained, Facts, Fault, Result
from paidonce.chaos.page.heat import Atlas, Matrix, Strike, Trial
from paidonce.chaos.report import report
from paidonce.devstack.chromium import find_chromium

pytestmark = pytest.mark.page

PICTURES = Path("reports/page")
SIZES = {"phone": (360, 740), "desk": (1280, 900)}
HOSTILE = "<script>window.struck=1</script><img src=//evil.test/x onerror=window.struck=1>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  installed by `make test-page` alone

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def invalid(good: Facts, tmp_path: Path) -> Path:
    """The page of a run with a double charge, with hostile names in it, an atlas and a matrix."""
    charge = replace(good.charges[0], at=2.0)
    faults = [
        Fault(number=n, kind=HOSTILE if n == 3 else "kill", target=f"notifications-{n % 5}", fired_at=1.0 + n / 9,
              healed_at=1.2 + n / 9, back_after_s=0.4, saw=HOSTILE)
        for n in range(1, 40)
    ]  # fmt: skip
    facts = replace(
        good,
        charges=[charge, replace(charge, id="ch-2", key=f"charge-{HOSTILE}", at=4.0)],
        faults=faults,
        dead_letters=[HOSTILE * 4],
    )
    steps = [f"consumer_notifications.step_{n}" for n in range(30)]
    kinds = ("kill", "stop", "exception")
    strikes = [
        Strike(step=step, when=when, kind=kind, result="valid", why=HOSTILE)
        for step in steps[1:] for when in ("before", "after") for kind in kinds
    ]  # fmt: skip
    trials = [
        Trial(safeguard=f"S{n}", plan="s", seed=seed, result="found", checker="one-capture", evidence=HOSTILE)
        for n in range(1, 17) for seed in (1, 2, 3)
    ]  # fmt: skip
    (tmp_path / "atlas.json").write_text(Atlas(steps=steps, strikes=strikes).model_dump_json())
    (tmp_path / "matrix.json").write_text(Matrix(trials=trials).model_dump_json())
    result = Result(plan="kills", seed=42, payments=2, load_s=12.0, through=2, drain_within_s=30.0,
                    drained=Drained(0.5), facts=facts)  # fmt: skip
    pages.write(tmp_path, report(result))
    return tmp_path / pages.FILE


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_quiet_fits_and_shows_the_verdict_at_once(browser: Any, invalid: Path, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(invalid.absolute().as_uri())
    PICTURES.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=PICTURES / f"{size}-{scheme}.png", full_page=True)
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert tab.evaluate("window.struck") is None
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for seen in (".verdict", ".reasons li"):
        box = tab.locator(seen).first.bounding_box()
        assert box["y"] + box["height"] < height
    assert tab.locator(".story").first.is_visible()
    assert tab.locator(".story li.evidence.provider").count() == 2
    assert tab.locator(".plot:visible").count() == 1
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in paper[4:-1].split(",")) < 3 * 128) == (scheme == "dark")
    tab.close()


def test_it_can_be_printed(browser: Any, invalid: Path) -> None:
    tab = browser.new_page(color_scheme="dark")
    tab.goto(invalid.absolute().as_uri())
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.close()
