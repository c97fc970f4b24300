"""Where is a payment, and what happened to it? Found by whatever somebody has of it; its trail as a line of time."""

from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from paidonce.app.trail.finding import find
from paidonce.console.desk import Desk
from paidonce.console.visit import Visit
from paidonce.workers.trail import of_payment


def search(desk: Desk, visit: Visit) -> Response:
    """Lead to the one payment that a text belongs to, or list several."""
    text = visit.query.get("q", "").strip()
    with desk.engine.connect() as tx:
        found = find(tx, text)
    if len(found) == 1:
        return RedirectResponse(f"/payments/{found[0].payment_id}", 303)
    return desk.pages.of(visit.session, "search", text=text, found=found)


def payment(desk: Desk, visit: Visit) -> Response:
    """Show the trail, of whichever tenant."""
    payment_id: UUID = visit.names["payment_id"]
    trail = of_payment(desk.settings, desk.engine, payment_id)
    if trail is None:
        raise HTTPException(404, f"there is no payment {payment_id}")
    return desk.pages.of(visit.session, "payment", trail=trail)
