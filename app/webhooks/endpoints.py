"""Where do a tenant's events go? One address a tenant, with its secret. Home of the table `webhook_endpoints`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import httpx
from sqlalchemy import Connection, Row, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.errors import UnprocessableError
from paidonce.app.tables import webhook_endpoints
from paidonce.app.webhooks import signing

#: What every browser and proxy can carry.
URL_CHARS_MAX = 2_048
#: There are seven types of events; room for more.
EVENTS_MAX = 32

_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A tenant's webhook endpoint; its `repr` does not show the secret."""

    tenant: str
    url: str
    #: `whsec_…`, the client's; write-only
    secret: str = field(repr=False)
    #: types of events that are wanted; None: all
    events: tuple[str, ...] | None
    created_at: datetime
    updated_at: datetime

    def wants(self, type_: str) -> bool:
        """Tell whether events of `type_` go here."""
        return self.events is None or type_ in self.events


def put(
    tx: Connection,
    tenant: str,
    *,
    url: str,
    secret: str,
    events: Sequence[str] | None,
    private_addresses: bool,
) -> tuple[Endpoint, bool]:
    """Set the tenant's endpoint; return it and whether it is new.

    `private_addresses` is the setting `webhook_private_addresses`: it allows `http`.

    Raises:
        UnprocessableError: names the member that is wrong, never the secret.
    """
    check_url(url, private_addresses=private_addresses)
    try:
        signing.check_secret(secret)
    except ValueError as error:
        raise UnprocessableError(f"secret: {error}") from error
    _check_events(events)
    values = {"url": url, "secret": secret, "events": None if events is None else sorted(set(events))}
    # PostgreSQL tells an inserted row from an updated one by its xmax alone
    written = tx.execute(
        insert(webhook_endpoints)
        .values(tenant=tenant, **values)
        .on_conflict_do_update(index_elements=["tenant"], set_={**values, "updated_at": func.now()})
        .returning(webhook_endpoints, literal_column("webhook_endpoints.xmax = 0").label("new"))
    ).one()
    return _endpoint(written), written.new


def lock(tx: Connection, tenant: str) -> None:
    """Let one change of a tenant's endpoint run at a time until the end of the transaction: there may be no row yet."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"webhook_endpoint:{tenant}", 0))))


def get(tx: Connection, tenant: str) -> Endpoint | None:
    """Return the tenant's endpoint; None when it has none."""
    row = tx.execute(select(webhook_endpoints).where(webhook_endpoints.c.tenant == tenant)).one_or_none()
    return _endpoint(row) if row else None


def wished(tx: Connection, tenant: str) -> tuple[tuple[str, ...] | None, datetime] | None:
    """Return which types the tenant's endpoint wants (None: all), and since when; None when it has no endpoint.

    Neither the address nor the secret is read.
    """
    wanted = select(webhook_endpoints.c.events, webhook_endpoints.c.updated_at)
    row = tx.execute(wanted.where(webhook_endpoints.c.tenant == tenant)).one_or_none()
    return None if row is None else (None if row.events is None else tuple(row.events), row.updated_at)


def remove(tx: Connection, tenant: str) -> bool:
    """Delete the tenant's endpoint; False when it had none."""
    return tx.execute(delete(webhook_endpoints).where(webhook_endpoints.c.tenant == tenant)).rowcount == 1


def check_url(url: str, *, private_addresses: bool) -> None:
    """Refuse an address that no webhook may go to; where its name leads is checked at each delivery.

    Raises:
        UnprocessableError: says what is wrong with it.
    """
    if len(url) > URL_CHARS_MAX or not _VISIBLE.fullmatch(url):
        raise UnprocessableError(f"url: 1 to {URL_CHARS_MAX} visible ASCII characters")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UnprocessableError(f"url: {error}") from error
    if parsed.scheme != "https" and not (private_addresses and parsed.scheme == "http"):
        raise UnprocessableError("url: https only")
    real_port = parsed.port is None or 0 < parsed.port < 65_536
    if not parsed.host or parsed.userinfo or parsed.fragment or not real_port:
        raise UnprocessableError("url: a host and a real port, and neither user, password nor fragment")


def _check_events(events: Sequence[str] | None) -> None:
    if events is not None and (
        not 1 <= len(events) <= EVENTS_MAX or not all(len(one) <= 64 and _EVENT.fullmatch(one) for one in events)
    ):
        raise UnprocessableError(f"events: 1 to {EVENTS_MAX} types such as payment.captured, or leave it out for all")


def _endpoint(row: Row[tuple[object, ...]]) -> Endpoint:
    return Endpoint(
        tenant=row.tenant,
        url=row.url,
        secret=row.secret,
        events=None if row.events is None else tuple(row.events),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
