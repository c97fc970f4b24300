"""How does a person see, and let go, the brakes of consumers? (docs/operations.md, "A consumer stands still")."""

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


def engaged(bind: Engine) -> list[Engaged]:
    """Return every consumer that stands still."""
    with bind.connect() as tx:
        return brakes.all_engaged(tx)


@step("brake.release")
def release(bind: Engine, settings: Settings, name: str, by: By) -> None:
    """Let the consumer `name` go on; its members notice within a second or two.

    Raises:
        NotEngagedError: it does not stand still, or never ran here: names those that do.
    """
    with db.begin(bind) as tx:
        stood = brakes.engaged(tx, name)
        if brakes.release(tx, name):
            audit.write(tx, by, "release", f"brake of {name}", stood or "")
            return
        standing = ", ".join(one.consumer for one in brakes.all_engaged(tx)) or "none"
        ever = sorted(topics_read(tx, settings))
    if name in ever:
        raise NotEngagedError(f"consumer {name} does not stand still; of those that do there is: {standing}")
    raise NotEngagedError(
        f"no consumer {name!r} ever ran here; standing still: {standing}; ever ran: {', '.join(ever) or 'none'}"
    )
