"""How does a person see, and let go, the brakes of consumers? (docs/operations.md, "A consumer stands still")."""

from datetime import datetime

from sqlalchemy import Engine

from paidonce.app import audit, db
from paidonce.app.audit import By
from paidonce.app.errors import PaidonceError
from paidonce.app.messaging import brakes
from paidonce.app.messaging.brakes import Engaged
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.readings import topics_read


class NotEngagedError(PaidonceError):
    """That consumer does not stand still."""


class EngagedAgainError(PaidonceError):
    """It stands still for another reason than the one that was seen."""


def engaged(bind: Engine) -> list[Engaged]:
    """Return every consumer that stands still."""
    with bind.connect() as tx:
        return brakes.all_engaged(tx)


@step("brake.release")
def release(bind: Engine, settings: Settings, name: str, by: By, *, since: datetime | None = None) -> None:
    """Let the consumer `name` go on; its members notice within a second or two.

    `since` is when it had come to stand still when whoever decides looked; None: they have not looked.

    Raises:
        EngagedAgainError: it stands still since another time.
        NotEngagedError: it does not stand still, or never ran here: names those that do.
    """
    with db.begin(bind) as tx:
        every = {one.consumer: one for one in brakes.all_engaged(tx)}
        stood = every.pop(name, None)
        if stood is not None and since not in {None, stood.engaged_at}:
            raise EngagedAgainError(f"consumer {name} was released meanwhile, and stands still again: read why")
        if stood is not None and brakes.release(tx, name, since=stood.engaged_at):
            audit.write(tx, by, "release", f"brake of {name}", stood.reason)
            return
        standing = ", ".join(every) or "none"
        ever = sorted(topics_read(tx, settings))
    if name in ever:
        raise NotEngagedError(f"consumer {name} does not stand still; of those that do there is: {standing}")
    raise NotEngagedError(
        f"no consumer {name!r} ever ran here; standing still: {standing}; ever ran: {', '.join(ever) or 'none'}"
    )
