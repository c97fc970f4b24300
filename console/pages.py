"""How does a page become HTML? By templates that escape everything, with what every page shows around it."""

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from paidonce.app.clock import Clock
from paidonce.console.session import Session
from paidonce.console.watch import Watch

#: An en dash.
NOBODY_KNOWS = "\N{EN DASH}"
HERE = Path(__file__).parent


class Pages:
    """Writes the pages; one a process."""

    def __init__(self, watch: Watch, clock: Clock) -> None:
        self._watch, self._clock = watch, clock
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"moment": moment, "clock": clock_time, "span": span, "count": count}

    def of(self, session: Session, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """Return a page for an operator; `template` is its name without ending."""
        around = {"session": session, "now": self._clock.now(), "waiting": self._waiting(), "refresh_s": 0}
        return self._html(template, status, around | context)

    def plain(self, status: int, title: str, said: str, *, log_in: bool = True) -> HTMLResponse:
        """Return a page for anybody: a heading, a sentence, and the way in."""
        return self._html("plain", status, {"title": title, "said": said, "log_in": log_in})

    def _html(self, template: str, status: int, context: dict[str, Any]) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(f"{template}.html.jinja").render(context), status)

    def _waiting(self) -> dict[str, int]:
        """Return what waits for a person, for the links at the head of each page."""
        look = self._watch.last()
        if look is None or look.status is None:
            return {"dead": 0, "unknown": 0}
        dead = sum(one.count for one in look.status.dead_letters if one.state == "dead")
        return {"dead": dead, "unknown": look.status.effects.get("unknown", 0)}


def moment(at: datetime) -> str:
    """Return date and time to the second, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def clock_time(at: datetime) -> str:
    """Return the time of day to the millisecond, in UTC."""
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"


def span(seconds: float) -> str:
    """Return a stretch of time in its largest unit that says something."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: float | None) -> str:
    """Return a number with its thousands apart; a dash where nobody could say."""
    return NOBODY_KNOWS if number is None else f"{number:,}"
