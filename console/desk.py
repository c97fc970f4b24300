"""What does the console hold while it runs? Opened when it starts, closed when it ends; nothing about any browser."""

from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.requests import Request

from paidonce.app.auth.trust import Trust
from paidonce.app.clock import Clock
from paidonce.app.settings import Settings
from paidonce.console.codes import Codes
from paidonce.console.pages import Pages
from paidonce.console.place import Place
from paidonce.console.sealed import Seal
from paidonce.console.session import Sessions
from paidonce.console.watch import Watch


@dataclass(frozen=True, slots=True)
class Desk:
    """What pages work with."""

    settings: Settings
    clock: Clock
    here: Place
    engine: Engine
    trust: Trust
    seal: Seal
    codes: Codes
    sessions: Sessions
    watch: Watch
    pages: Pages


def desk_of(request: Request) -> Desk:
    """Return the desk of the console that got the request."""
    desk: Desk = request.state.desk
    return desk
