"""Where is a payment, and what happened to it? Found by whatever somebody has of it; its trail as a line of time."""

from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from paidonce.app.trail.finding import find
from paidonce.app.trail.trail import trail_of
from paidonce.console.desk import Desk
from paidonce.console.visit import Visit

#: Characters of a text that can be a key or a reference.
TEXT_CHARS_MAX = 255


def search(desk: Desk, visit: Visit) -> Response:
    """Lead to the one payment that a text belongs to, or list several."""
    text = visit.query.get("q", "").strip()
    if not text or len(text) > TEXT_CHARS_MAX or "\0" in text:
        found = []
    else:
        with desk.engine.connect() as tx:
            found = find(tx, text)
    if len(found) == 1:
        return RedirectResponse(f"/payments/{found[0].payment_id}", 303)
    return desk.pages.of(visit.session, "search", text=text, found=found)


def payment(desk: Desk, visit: Visit) -> Response:
    """Show the trail, of whichever tenant."""
    payment_id = UUID(visit.names["payment_id"])
    with desk.engine.connect() as tx:
        trail = trail_of(tx, desk.settings, payment_id)
    if trail is None:
        raise HTTPException(404, f"there is no payment {payment_id}")
    return desk.pages.of(visit.session, "payment", trail=trail)
