"""How long from accepted to captured, through the whole stack, at steady rates, with a provider that takes 20 ms?

On two cores, whatever the machine has, everything included: servers, our processes, the provider
and the load. The times are the database's: `created_at` of the payment's events in the outbox,
the moments at which the transactions began that accepted and that captured it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import psycopg

from paidonce.app.settings import Settings
from paidonce.bench import api, broker, database
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.load import Job, Result
from paidonce.bench.meters import meters
from paidonce.bench.samples import percentile
from paidonce.bench.terms import Terms
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import PACE
from paidonce.devstack.runs import Run
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

#: Payments a second: the rate that the target is for, and one that two cores carry; and seconds of each.
RATE, EASY_RATE, SECONDS = 200.0, 20.0, 30.0
#: Seconds before them at the easy rate, which do not count.
WARM_S = 10.0
#: Seconds that the provider takes for a charge with `pm_slow`.
PROVIDER_S = 0.02
CONNECTIONS = 32
CORES = 2
#: Seconds until the last payment is captured, or something is wrong.
LATE_S = 300.0
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
#: Payments captured a second, from the first that was accepted to the last that was captured.
CAPTURED = """
SELECT count(*) / extract(epoch FROM max(captured.created_at) - min(payments.created_at))::float8
  FROM payments JOIN outbox AS captured
    ON captured.aggregateid = payments.id::text AND captured.type = 'payment.captured'
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
        with terms.stage(f"{EASY_RATE:g} payments/s for {WARM_S:g} s to warm up"):
            _load(stack, "warm", EASY_RATE, WARM_S)
            _took(stack, "warm")
        watched = {"kafka": kafka.process.pid} if kafka.process else {}
        easy = _measured(terms, stack, watched, EASY_RATE)
        asked = _measured(terms, stack, watched, RATE)
    return [*_delays("e2e", RATE, asked), *_delays(f"e2e {EASY_RATE:g}/s", EASY_RATE, easy), *_costs(asked)]


@dataclass(frozen=True, slots=True)
class Found:
    """What one rate gave."""

    #: payments captured a second, the time included in which those that waited were worked off
    rate: float
    #: milliseconds from accepted to captured of each payment
    took_ms: list[float]
    #: process -> CPU milliseconds a payment
    cpu_ms: Mapping[str, float]


def _measured(terms: Terms, stack: Stack, more: dict[str, int], rate: float) -> Found:
    watched, began = meters(stack.pids() | more), monotonic()
    reference = f"at {rate:g}"
    with terms.stage(f"{rate:g} payments/s for {SECONDS:g} s, until each is captured"):
        result = _load(stack, reference, rate, SECONDS)
        took_ms = _took(stack, reference)
    for meter in watched.values():
        meter.look()
    costs = {name: meter.cpu_s(began, monotonic()) for name, meter in watched.items()}
    costs["load"] = result.cpu_share * result.seconds
    with psycopg.connect(stack.addresses.dsn, autocommit=True) as session:
        row = session.execute(CAPTURED, [reference]).fetchone()
        assert row is not None
    return Found(row[0], took_ms, {name: cpu_s / len(took_ms) * 1000 for name, cpu_s in costs.items()})


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


def _load(stack: Stack, reference: str, rate: float, seconds: float) -> Result:
    address = urlsplit(stack.addresses.api)
    body: dict[str, Any] = api.BODY | {"payment_method": "pm_slow", "reference": reference}
    job = Job(
        host=str(address.hostname),
        port=int(address.port or 0),
        token=stack.token(ttl=3_600),
        body=json.dumps(body),
        connections=CONNECTIONS,
        seconds=seconds,
        key_prefix=reference.replace(" ", "-"),
        keys=0,
        expected="",
        rate=rate,
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


def _delays(name: str, asked: float, found: Found) -> list[Figure]:
    return [
        Figure(name, "payments/s", round(found.rate, 1), "asked", asked),
        Figure(f"{name} p50", "ms", round(percentile(found.took_ms, 0.50), 1), "limit", P99_MS),
        Figure(f"{name} p99", "ms", round(percentile(found.took_ms, 0.99), 1), "limit", P99_MS, most=1.0),
    ]


def _costs(found: Found) -> list[Figure]:
    """Return what a payment costs, beside what two cores have for each at the rate asked."""
    most_ms = CORES * 1000 / RATE
    return [
        Figure(f"e2e CPU {name}", "ms/payment", round(cpu_ms, 2), f"{CORES} cores", most_ms)
        for name, cpu_ms in [
            ("all", sum(found.cpu_ms.values())),
            *sorted(found.cpu_ms.items(), key=lambda one: -one[1]),
        ]
    ]
