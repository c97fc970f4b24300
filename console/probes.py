"""Which processes and servers are ready? Each is asked as its supervisor would ask it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from paidonce.app.settings import Settings
from paidonce.workers.doctor_checks import WRONG
from paidonce.workers.doctor_valkey import valkey
from paidonce.workers.status import Status

#: Seconds for one process's answer: those of orchestrators wait 1 by default.
PROBE_S = 1.0
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Probe:
    """What one of them said."""

    name: str
    ready: bool
    #: in a few words, what is wrong; empty when it is ready
    said: str = ""


def processes(settings: Settings) -> list[Probe]:
    """Ask every process that the settings name."""
    if not settings.console_probes:
        return []
    with httpx.Client(timeout=PROBE_S, trust_env=False) as client, ThreadPoolExecutor(AT_ONCE) as together:
        return list(together.map(lambda one: _process(client, *one), sorted(settings.console_probes.items())))


def servers(settings: Settings, status: Status | None, error: str | None) -> Iterator[Probe]:
    """Say what the look at the pipeline told of PostgreSQL and Kafka, and ask Valkey."""
    yield Probe("PostgreSQL", status is not None, error or "")
    if status is not None:
        yield Probe("Kafka", status.kafka_error is None, status.kafka_error or "")
    yield _valkey(settings)


def _process(client: httpx.Client, name: str, url: str) -> Probe:
    try:
        answer = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Probe(name, ready=False, said=f"no answer ({type(error).__name__})")
    ready = answer.status_code == httpx.codes.OK
    return Probe(name, ready, "" if ready else f"not ready ({answer.status_code})")


def _valkey(settings: Settings) -> Probe:
    try:
        valkey(settings)
    except WRONG as error:
        return Probe("Valkey", ready=False, said=str(error))
    return Probe("Valkey", ready=True)
