"""How is it going? Health, figures, consumers, leases and key sets on one page, from the newest look."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.responses import Response

from paidonce.app.auth.jwks import KeySetRefusedError, usable_keys
from paidonce.app.auth.keyset_file import KeySetFile
from paidonce.console.concerns import concerns
from paidonce.console.desk import Desk
from paidonce.console.plots import plots, reach
from paidonce.console.visit import Visit
from paidonce.workers.leases import LONGEST_S

#: Seconds that a page waits for the first look of a console that has just started.
FIRST_LOOK_S = 5.0
#: Seconds between two loads of a page that was asked to load itself again.
REFRESH_S = 10


@dataclass(frozen=True, slots=True)
class Keys:
    """An issuer's key set as somebody has it."""

    issuer: str
    #: who has it
    where: str
    ids: list[str]
    fetched_at: datetime | None


def overview(desk: Desk, visit: Visit) -> Response:
    """Show the page."""
    look = desk.watch.last(wait_s=FIRST_LOOK_S)
    points = desk.watch.points()
    return desk.pages.of(
        visit.session,
        "overview",
        look=look,
        concerns=concerns(look, desk.clock.now(), desk.settings.console_look_s) if look else [],
        plots=plots(points),
        reach=reach(points),
        key_sets=key_sets(desk),
        lease_longest_s=LONGEST_S,
        refresh_s=REFRESH_S if "refresh" in visit.query else 0,
    )


def key_sets(desk: Desk) -> list[Keys]:
    """Return the key sets that can be seen from here: the console's own, and those on disk."""
    found = []
    for issuer, keys in desk.trust.key_sets().items():
        age_s = keys.age_s()
        fetched_at = desk.clock.now() - timedelta(seconds=age_s) if keys.ids() else None
        found.append(Keys(issuer, "this console", keys.ids(), fetched_at))
    folder = desk.settings.jwks_folder
    for trusted in desk.settings.trusted_issuers() if folder else ():
        assert folder is not None
        kept = KeySetFile(folder, trusted.issuer).load()
        if kept is None:
            found.append(Keys(trusted.issuer, "on disk", [], None))
            continue
        try:
            ids = sorted(usable_keys(kept.body))
        except KeySetRefusedError:
            ids = []
        found.append(Keys(trusted.issuer, "on disk", ids, kept.fetched_at))
    return found
