"""What can be seen of the effects on /metrics? What is open, how the other side answers, and the breakers.

What is open is read from the table, so every worker says the same of the whole installation.
"""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.breaker import Breaker
from paidonce.app.messaging import effects

#: Seconds between two counts: each reads all that is open, some 100 ms after an hour without the provider.
MEASURE_S = 15.0
OPEN_STATES = ("pending", "running", "unknown")

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
        found = await tx.run_sync(effects.open_by_kind)
    for kind in kinds:
        for state in OPEN_STATES:
            count, oldest_s = found.get((kind, state), (0, 0.0))
            OPEN.labels(kind, state).set(count)
            OLDEST.labels(kind, state).set(oldest_s)
