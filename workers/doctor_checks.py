"""What is checked of each setting and server, and what is to be done when it is wrong?

A check returns what it found, in a few words, or raises `WrongError`, which names the setting.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from paidonce.app import advice, db, installation
from paidonce.app.auth.introspection_call import IntrospectionCall, IntrospectionFailedError
from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import OpaqueTokens, TrustedIssuer
from paidonce.app.messaging import partitions
from paidonce.app.settings import Settings
from paidonce.app.webhooks.signing import check_secret
from paidonce.workers import doctor_pooler, leases, retention
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_admin import Topic, Topics
from paidonce.workers.broker_topic import keeps
from paidonce.workers.doctor_encryption import encryption, files
from paidonce.workers.doctor_finding import ANSWER_S, WrongError
from paidonce.workers.doctor_valkey import valkey
from paidonce.workers.outbox_repair_mend import REPAIR_LEASE_S
from paidonce.workers.relay_topics import PARTITIONS

#: PostgreSQL's first version with DETACH CONCURRENTLY and everything else that the statements use.
POSTGRES_LEAST = 140_000

#: Days ahead for which there must be a partition: a cleaner that is away until tomorrow stops nobody.
AHEAD_D_LEAST = 1


def times(settings: Settings) -> str:
    """Leases outlast what is done under them, and the inbox remembers for long enough."""
    for lease, call in (("effect_lease_s", "effect_call_s"), ("effect_lease_s", "webhook_call_s")):
        if getattr(settings, lease) <= getattr(settings, call):
            raise WrongError(
                f"PAIDONCE_{lease.upper()} ({getattr(settings, lease):g}) must be longer than "
                f"PAIDONCE_{call.upper()} ({getattr(settings, call):g}): make it longer"
            )
    if settings.provider_key_margin_s >= settings.provider_honours_keys_s > 0:
        raise WrongError(
            "PAIDONCE_PROVIDER_KEY_MARGIN_S leaves nothing of PAIDONCE_PROVIDER_HONOURS_KEYS_S: make it smaller"
        )
    longest_s = max(settings.effect_call_s, settings.webhook_call_s)
    if settings.stop_s <= longest_s:
        raise WrongError(
            f"PAIDONCE_STOP_S ({settings.stop_s:g}) cuts off calls to the provider and to merchants, which may take "
            f"{longest_s:g} s: make it longer"
        )
    retention.check(settings)
    retention.check_keys(settings)
    return "leases and retentions fit each other"


def secret(settings: Settings) -> str:
    """The provider's webhooks can be verified."""
    value = settings.provider_secret.get_secret_value()
    if not value:
        raise WrongError("PAIDONCE_PROVIDER_SECRET is empty, so the provider's webhooks are refused: set it to whsec_…")
    try:
        check_secret(value)
    except ValueError as error:
        raise WrongError(
            f"PAIDONCE_PROVIDER_SECRET cannot be used ({error}): set the one that the provider gave"
        ) from error
    return "the provider's webhooks can be verified"


def addresses(settings: Settings) -> str:
    """Nothing secret travels in the clear, and webhooks stay out of private networks."""
    for name in ("issuer", "provider_url"):
        url = urlsplit(getattr(settings, name))
        if url.scheme != "https" and url.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise WrongError(
                f"PAIDONCE_{name.upper()} ({url.geturl()}) is not TLS: use https:// outside of this machine"
            )
    if settings.webhook_private_addresses:
        return (
            "merchants' webhooks may go to private addresses (PAIDONCE_WEBHOOK_PRIVATE_ADDRESSES): for demo and tests"
        )
    return "TLS outside of this machine; merchants' webhooks stay out of private networks"


def postgres(settings: Settings) -> str:
    """The database answers, is a primary, has our schema, partitions and a true clock, which was not set back."""
    bind = db.engine(settings, size=1)
    try:
        with bind.connect() as tx:
            return _postgres(tx, settings)
    except OperationalError as error:
        raise WrongError(f"takes no connection of ours: {advice.of(error)}") from error
    finally:
        bind.dispose()


def _postgres(tx: Connection, settings: Settings) -> str:
    version = int(tx.scalar(text("SHOW server_version_num")) or 0)
    if version < POSTGRES_LEAST:
        raise WrongError(
            f"is of version {version // 10_000}, {POSTGRES_LEAST // 10_000} is the oldest that works: upgrade"
        )
    if tx.scalar(text("SELECT pg_is_in_recovery()")):
        raise WrongError("is a standby: name the primary in PAIDONCE_DSN, or add target_session_attrs=read-write")
    now: datetime | None = tx.scalar(text("SELECT clock_timestamp()"))
    skew = abs((now or datetime.max.replace(tzinfo=UTC)) - datetime.now(UTC))
    if skew > timedelta(seconds=settings.clock_skew_s):
        raise WrongError(f"has a clock {skew} away from ours: set the clocks, or PAIDONCE_CLOCK_SKEW_S")
    db.check_schema(tx)
    shards = installation.fixed(tx, "outbox_shards")
    if shards not in {None, str(settings.outbox_shards)}:
        raise WrongError(f"was made with {shards} shards: set PAIDONCE_OUTBOX_SHARDS={shards}")
    _partitions(tx)
    _leases(tx, settings)
    return f"version {version // 10_000}, schema {db.SCHEMA_VERSION}"


def _partitions(tx: Connection) -> None:
    today = datetime.now(UTC).date()
    for table in ("outbox", "inbox"):
        days = partitions.attached(tx, table)
        missing = [day for ahead in range(AHEAD_D_LEAST + 1) if (day := today + timedelta(days=ahead)) not in days]
        if missing:
            raise WrongError(f"has no partition of {table} for {missing[0]}: run `paidonce cleaner`, or once `migrate`")


def _leases(tx: Connection, settings: Settings) -> None:
    longest_s = max(settings.relay_lease_s, settings.cleaner_lease_s, REPAIR_LEASE_S)
    for one in leases.holders(cast("leases.Session", tx.connection.driver_connection)):
        if one.left_s > longest_s:
            raise WrongError(
                f"lease {one.name} held by {one.owner} lasts {one.left_s:.0f} s, longer than these settings give "
                f"({longest_s:g}), so the clock was set back (or that process has other settings): nothing is to be "
                f"done; an owner that lives renews it in a moment, a dead one's is free when that time is over, and "
                f"at once above {leases.LONGEST_S:g} s"
            )


def kafka(settings: Settings) -> str:
    """The broker answers, and its topic fits."""
    counts = _partition_counts(settings)
    try:
        with Topics(settings) as topics:
            found = topics.find({settings.topic, *counts})
        _same_partitions(counts, found)
        if settings.topic not in found:
            return f"answers; topic {settings.topic} will be made by the relay"
        kept = {name: keeps(settings, name) for name in sorted(found)}
    except BrokerAwayError as error:
        todo = "" if "PAIDONCE_" in str(error) else ": start it, or set PAIDONCE_KAFKA"
        raise WrongError(f"takes no connection of ours: {error}{todo}") from error
    for name, how in kept.items():
        retention.check(settings, how, name=name)
    return f"topic {settings.topic} with {found[settings.topic].partitions} partitions"


def _partition_counts(settings: Settings) -> dict[str, int]:
    """Return how many partitions each topic had when it was first used; nothing where the database does not say."""
    bind = db.engine(settings, size=1)
    try:
        with bind.connect() as tx:
            names = installation.names(tx, PARTITIONS)
            return {name: int(installation.fixed(tx, PARTITIONS + name) or 0) for name in names}
    except (OperationalError, ProgrammingError):
        return {}  # that check says why
    finally:
        bind.dispose()


def _same_partitions(counts: Mapping[str, int], found: Mapping[str, Topic]) -> None:
    for name, count in counts.items():
        if name not in found:
            raise WrongError(
                f"topic {name} is gone, which was used before: start a relay, which makes it anew and publishes all "
                "that the outbox has"
            )
        if found[name].partitions != count:
            raise WrongError(
                f"topic {name} has {found[name].partitions} partitions, and had {count} when it was first used, so "
                'each relay stops at its next recovery: see docs/operations.md, "Partitions were added to a topic"'
            )


def issuer(settings: Settings) -> str:
    """The key set of every trusted issuer can be had."""
    return ", ".join(f"{one.issuer}: {_keys_of(one)} keys" for one in settings.trusted_issuers())


def _keys_of(issuer: TrustedIssuer) -> int:
    url, setting = issuer.jwks_url, "PAIDONCE_JWKS_URL"
    try:
        if url is None:
            setting = "PAIDONCE_ISSUER"
            discovery = issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"
            url = str(_get(discovery, f"{setting} or PAIDONCE_JWKS_URL").json()["jwks_uri"])
        keys = _get(url, setting).json()["keys"]
    except (ValueError, KeyError, TypeError) as error:
        raise WrongError(f"{issuer.issuer} offers no key set at {url}: set PAIDONCE_JWKS_URL") from error
    if not keys:
        raise WrongError(f"{url} has no keys: every token will be refused until the issuer has one")
    return len(keys)


def introspection(settings: Settings) -> str:
    """Every issuer that is asked about opaque tokens knows us, and says no to one that nobody has."""
    found = [f"{one.issuer} answers" for one in settings.trusted_issuers() if one.opaque and _says_no(one, one.opaque)]
    return ", ".join(found) or "no issuer is asked about opaque tokens"


def _says_no(issuer: TrustedIssuer, opaque: OpaqueTokens) -> bool:
    try:
        said = asyncio.run(_asked(issuer, opaque))
    except IntrospectionFailedError as error:
        raise WrongError(
            f"{issuer.issuer} cannot be asked about opaque tokens ({error}): mend `opaque` of this issuer in "
            "PAIDONCE_ISSUERS, or look there"
        ) from error
    if said is not None:
        raise WrongError(
            f"{issuer.issuer} calls a token active that nobody has: `url` of `opaque` in PAIDONCE_ISSUERS names "
            "something else than its introspection endpoint"
        )
    return True


async def _asked(issuer: TrustedIssuer, opaque: OpaqueTokens) -> Mapping[str, Any] | None:
    # As the API asks: the machine's trust store, no proxy, no redirects.
    context = ssl.create_default_context()
    async with httpx.AsyncClient(verify=context, follow_redirects=False, trust_env=False, timeout=ANSWER_S) as client:
        return await IntrospectionCall(issuer, opaque, client).ask(opaque.prefix + "paidonce-doctor")


def provider(settings: Settings) -> str:
    """The provider answers a look-up of nothing."""
    url = settings.provider_url.rstrip("/") + "/v1/charges?reference=paidonce-doctor"
    _get(url, "PAIDONCE_PROVIDER_URL")
    return "answers a look-up"


def _get(url: str, setting: str) -> httpx.Response:
    try:
        answer = httpx.get(url, timeout=ANSWER_S)
    except httpx.HTTPError as error:
        raise WrongError(f"{url} does not answer ({error}): start it, or set {setting}") from error
    if not answer.is_success:
        raise WrongError(f"{url} answers {answer.status_code}: look there, or set {setting}")
    return answer


CHECKS: dict[str, Callable[[Settings], str]] = {
    "secret files": files,
    "times": times,
    "encryption": encryption,
    "secret": secret,
    "addresses": addresses,
    "PostgreSQL": postgres,
    "pooler": doctor_pooler.check,
    "Kafka": kafka,
    "Valkey": valkey,
    "issuer": issuer,
    "introspection": introspection,
    "provider": provider,
}

#: What a check may raise when something is wrong.
WRONG = (WrongError, ConfigurationError)
