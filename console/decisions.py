"""What else waits for a person, and who has decided what? Unknown effects, brakes, and the audit."""

from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from paidonce.app import audit
from paidonce.app.audit import REASON_CHARS_MAX, By
from paidonce.app.messaging.effects import oldest_unknown
from paidonce.console.desk import Desk
from paidonce.console.reason import reason_of
from paidonce.console.visit import Visit
from paidonce.workers import brake as work

#: Rows of one page.
ROWS_MOST = 200


def effects(desk: Desk, visit: Visit) -> Response:
    """List the effects of which nobody knows whether they happened, the oldest first."""
    with desk.engine.connect() as tx:
        found = oldest_unknown(tx, limit=ROWS_MOST)
    return desk.pages.of(visit.session, "effects", effects=found, most=ROWS_MOST)


def decided(desk: Desk, visit: Visit) -> Response:
    """List what was decided, the newest first."""
    with desk.engine.connect() as tx:
        found = audit.newest(tx, limit=ROWS_MOST)
    return desk.pages.of(visit.session, "audit", entries=found, most=ROWS_MOST)


def brake(desk: Desk, visit: Visit) -> Response:
    """Show why a consumer stands still, and the form that lets it go."""
    return _brake(desk, visit)


def release(desk: Desk, visit: Visit) -> Response:
    """Let the consumer go on."""
    reason, wrong = reason_of(visit)
    if wrong:
        return _brake(desk, visit, wrong=wrong, status=422)
    by = By(visit.session.principal.sub, "console", reason)
    try:
        work.release(desk.engine, desk.settings, visit.names["consumer"], by, since=_seen(visit))
    except work.EngagedAgainError as error:
        return _brake(desk, visit, wrong=f"Nothing was done: {error}.", status=409)
    except work.NotEngagedError as error:
        raise HTTPException(409, str(error)) from error
    return RedirectResponse("/audit", 303)


def _seen(visit: Visit) -> datetime:
    """Return since when the brake on the page was engaged: one that is engaged again is another decision."""
    try:
        return datetime.fromisoformat(visit.form.get("since", ""))
    except ValueError:
        return datetime.min  # noqa: DTZ901  no brake's time


def _brake(desk: Desk, visit: Visit, *, wrong: str = "", status: int = 200) -> Response:
    name = visit.names["consumer"]
    engaged = next((one for one in work.engaged(desk.engine) if one.consumer == name), None)
    if engaged is None:
        raise HTTPException(404, "no consumer of that name stands still")
    context = {
        "engaged": engaged,
        "wrong": wrong,
        "reason": visit.form.get("reason", ""),
        "reason_most": REASON_CHARS_MAX,
    }
    return desk.pages.of(visit.session, "brake", status=status, **context)
