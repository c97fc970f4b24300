"""How long from accepted to captured, through the whole stack, at a steady rate, with a provider that takes 20 ms?

On two cores, whatever the machine has, everything included: servers, our processes, the provider
and the load. The times are the database's: `created_at` of the payment's events in the outbox,
the moments at which the transactions began that accepted and that captured it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import psycopg

from paidonce.app.settings import Settings
from paidonce.bench import api, broker, database
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.load import Job, Result
from paidonce.bench.meters import Meter, meters
from paidonce.bench.samples import percentile
from paidonce.bench.terms import Terms
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import PACE
from paidonce.devstack.runs import Run
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

#: Payments a second, and seconds of them; those of the warm-up do not count.
RATE, SECONDS, WARM_S = 200.0, 30.0, 10.0
#: Seconds that the provider takes for a charge with `pm_slow`.
PROVIDER_S = 0.02
CONNECTIONS = 32
CORES = 2
#: Seconds until the last payment is captured, or something is wrong.
LATE_S = 60.0
#: Target, in milliseconds.
P99_MS = 250.0

#: Milliseconds from accepted to captured of each payment whose reference is the round's; NULL: not captured yet.
TOOK = """
SELECT extract(epoch FROM captured.created_at - accepted.created_at)::float8 * 1000
  FROM payments
  JOIN outbox AS accepted ON accepted.aggregateid = payments.id::text AND accepted.type = 'payment.accepted'
  LEFT JOIN outbox AS captured ON captured.aggregateid = payments.id::text AND captured.type = 'payment.captured'
 WHERE payments.reference = %s
"""
WAITING = "SELECT count(*) FROM payments WHERE reference = %s AND status <> 'captured'"


def measure(terms: Terms) -> list[Figure]:
    """Return the figures; raises BenchError when a payment was not accepted or not captured."""
    with ExitStack() as closing:
        closing.enter_context(_cores(CORES))
        with terms.stage("start the whole stack"):
            stack, kafka = closing.enter_context(_stack(closing.enter_context(Run())))
            database.check_durable(stack.addresses.dsn)
            database.wear_in(stack.addresses.dsn)
        with terms.stage(f"{RATE:g} payments/s for {WARM_S:g} s to warm up"):
            _load(stack, "warm", WARM_S)
        watched = meters(stack.pids() | ({"kafka": kafka.process.pid} if kafka.process else {}))
        began = monotonic()
        with terms.stage(f"{RATE:g} payments/s for {SECONDS:g} s"):
            result = _load(stack, "bench", SECONDS)
        for meter in watched.values():
            meter.look()
        took_ms = _took(stack, "bench")
    return [*_delays(took_ms, result), *_costs(watched, began, result)]


@contextmanager
def _stack(run: Run) -> Iterator[tuple[Stack, Kafka]]:
    """The stack under the settings as shipped, not those that make a demonstration quick."""
    shipped = {name: Settings.model_fields[name].default for name in PACE}
    # The broker that the stack would start is compiled for a quick start.
    kafka = broker.start(run)
    given = {"PAIDONCE_KAFKA": kafka.bootstrap, "PAIDONCE_SIMULATOR_SLOW_S": str(PROVIDER_S)}
    with _environment(given), Stack(durable=True, overrides=shipped) as stack:
        yield stack, kafka


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """Keep this process and all that it starts on so many cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _load(stack: Stack, reference: str, seconds: float) -> Result:
    address = urlsplit(stack.addresses.api)
    body: dict[str, Any] = api.BODY | {"payment_method": "pm_slow", "reference": reference}
    job = Job(
        host=str(address.hostname),
        port=int(address.port or 0),
        token=stack.token(ttl=3_600),
        body=json.dumps(body),
        connections=CONNECTIONS,
        seconds=seconds,
        key_prefix=reference,
        keys=0,
        expected="",
        rate=RATE,
    )
    return api.loaded(job, "the API")


def _took(stack: Stack, reference: str) -> list[float]:
    """Wait until every payment is captured; return how many milliseconds each took."""
    with psycopg.connect(stack.addresses.dsn, autocommit=True) as session:

        def all_captured() -> bool:
            return session.execute(WAITING, [reference]).fetchone() == (0,)

        until(all_captured, within_s=LATE_S, what="every payment to be captured")
        found = [row[0] for row in session.execute(TOOK, [reference])]
    if not found or None in found:
        raise BenchError(f"{found.count(None)} of {len(found)} payments are captured without an event that says so")
    return found


def _delays(took_ms: list[float], result: Result) -> list[Figure]:
    return [
        Figure("e2e", "payments/s", round(len(took_ms) / result.seconds, 1), "asked", RATE),
        Figure("e2e p50", "ms", round(percentile(took_ms, 0.50), 1), "limit", P99_MS),
        Figure("e2e p99", "ms", round(percentile(took_ms, 0.99), 1), "limit", P99_MS, most=1.0),
    ]


def _costs(watched: Mapping[str, Meter], began: float, result: Result) -> list[Figure]:
    ended = monotonic()
    costs = {name: meter.cpu_s(began, ended) for name, meter in watched.items()}
    costs["load"] = result.cpu_share * result.seconds
    return [
        Figure(f"e2e CPU {name}", "s/minute", round(cpu_s * 60 / result.seconds, 1), f"{CORES} cores", CORES * 60.0)
        for name, cpu_s in sorted(costs.items(), key=lambda one: -one[1])
    ]
