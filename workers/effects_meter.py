"""What can be seen of the effects on /metrics? What is open, how the other side answers, and the breakers.

What is open is read from the table, so every worker says the same of the whole installation.
"""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.breaker import Breaker
from paidonce.app.messaging import dead_letters, effects
from paidonce.app.payments import charging, provider_webhook
from paidonce.app.webhooks import effect_kind
from paidonce.workers.consumer_metrics import DEAD

#: Seconds between two counts: each reads all that is open, some 100 ms after an hour without the provider.
MEASURE_S = 15.0
OPEN_STATES = ("pending", "running", "unknown")
#: Whose dead letters no consumer of the topic counts: they come with effects, or with the provider's webhook.
LETTERS_OF = (effect_kind.CONSUMER, provider_webhook.CONSUMER, charging.ALARMS)

OPEN = Gauge("paidonce_effects_open", "Effects that have not ended, of the whole installation.", ["kind", "state"])
OLDEST = Gauge(
    "paidonce_effects_oldest_age_seconds",
    "Seconds since the oldest effect in this state was written down, of the whole installation; 0: there is none.",
    ["kind", "state"],
)
ENDED = Counter("paidonce_effects_ended_total", "Effects that this worker ended: done, refused.", ["kind", "state"])
ANSWERS = Counter(
    "paidonce_effect_answers_total",
    "Answers of the other side to a call or a look-up, as docs/design.md names them.",
    ["kind", "asked", "answer"],
)
CALL_SECONDS = Histogram(
    "paidonce_effect_call_duration_seconds",
    "Duration of one call or look-up.",
    ["kind", "asked"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BREAKER = Gauge("paidonce_circuit_breaker_open", "1 while calls are held back, else 0.", ["circuit"])

_log = structlog.get_logger()


def watch(circuit: str, breaker: Breaker) -> None:
    """Show whether the breaker is open, as it is when somebody asks."""
    BREAKER.labels(circuit).set_function(lambda: float(breaker.is_open))


def know(kind: str) -> None:
    """Begin the counts of a kind's ends at zero: a rate counts from there."""
    for state in ("done", "refused"):
        ENDED.labels(kind, state)


async def measure(bind: AsyncEngine, kinds: Sequence[str]) -> None:
    """Count what is open of `kinds` for ever; while the database is away the last count stands."""
    while True:
        try:
            await measure_once(bind, kinds)
        except (SQLAlchemyError, OSError) as error:
            _log.info("effects_not_counted", error=repr(error))
        await asyncio.sleep(MEASURE_S)


async def measure_once(bind: AsyncEngine, kinds: Sequence[str]) -> None:
    """Count what is open of `kinds`, once."""
    async with bind.connect() as tx:
        found, letters = await tx.run_sync(_look)
    for consumer, count in letters.items():
        DEAD.labels(consumer).set(count)
    for kind in kinds:
        for state in OPEN_STATES:
            count, oldest_s = found.get((kind, state), (0, 0.0))
            OPEN.labels(kind, state).set(count)
            OLDEST.labels(kind, state).set(oldest_s)


def _look(tx: Connection) -> tuple[dict[tuple[str, str], tuple[int, float]], dict[str, int]]:
    return effects.open_by_kind(tx), {consumer: dead_letters.count(tx, consumer) for consumer in LETTERS_OF}
