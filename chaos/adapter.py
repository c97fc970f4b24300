"""What does the rig have to know of a pipeline that is not ours? What to start, how to ask it to pay, what it answered.

An adapter is one small class, in Python; what it starts may be written in anything (docs/chaos-your-own.md).
The rig owns the rest: servers, processes and their deaths, clients, history, the provider's journal, the verdict.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from paidonce.chaos.facts import Charge

__all__ = ["AdapterError", "Call", "Charge", "Ground", "Payment", "Pipeline", "Program", "load"]


class AdapterError(Exception):
    """There is no such adapter, or it is none; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a run gives to a pipeline: empty servers, a provider that moves no money, free ports, a folder."""

    #: of an empty PostgreSQL database, as a URL
    dsn: str
    #: `host:port` of a Kafka broker; topics that are written to come into being
    kafka: str
    #: URL of an empty Valkey
    valkey: str
    #: URL of the provider's simulator: `POST /v1/charges`, see `paidonce provider --help`
    provider: str
    #: loopback ports that nothing listens on, for the pipeline's own use
    ports: Sequence[int]
    #: a folder of the run that is removed after it
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process of the pipeline, which the rig starts, strikes, and starts again when it has died."""

    #: what plans and reports call it
    name: str
    argv: Sequence[str]
    #: goes over the rig's own environment
    env: Mapping[str, str] = field(default_factory=dict)
    #: where it is started; None: in the run's folder
    folder: Path | None = None
    #: a URL that answers 2xx once it works; empty: it works as soon as it runs
    ready: str = ""
    #: whether it is run to its end, before those after it are started: a migration
    once: bool = False
    #: whether faults aimed at `*`, everybody, strike it
    struck: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What a client wants to pay, once."""

    #: the client's own name for it, an order number
    subject: str
    #: the idempotency key: the same for every attempt at this payment, and for no other
    key: str
    #: minor units; no two payments of a run have the same, so that the provider's journal tells which is which
    amount: int
    currency: str
    #: what the provider is to be told as `payment_method`; it decides how the simulator behaves
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The HTTP request that asks the pipeline to pay; JSON."""

    path: str
    json: Mapping[str, Any]
    #: all of them: the key goes where the pipeline looks for it
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


class Pipeline(Protocol):
    """Somebody's pipeline. Inherit from it, and `again` and `charges` need not be written.

    It is made twice, by the rig and by its clients' process, each time with the same ground; nothing is
    shared between the two.
    """

    #: refusals that mean "later": the client asks again with the same key, as it does after 5xx and no answer
    again: Collection[int] = (409, 425, 429)

    def __init__(self, ground: Ground) -> None:
        """Take what the run gives; starts nothing."""

    def apis(self) -> Sequence[str]:
        """Return the base URLs of its replicas; each request goes to one of them at random."""
        ...

    def programs(self) -> Sequence[Program]:
        """Return what is to be started, in this order."""
        ...

    def call(self, payment: Payment) -> Call:
        """Return the request that asks to pay; every attempt at a payment is the same."""
        ...

    def paid_as(self, answer: Mapping[str, Any]) -> str | None:
        """Return what a 2xx answer calls the payment, the `reference` that the provider is told if it is that.

        None: the answer does not accept the payment after all.
        """
        ...

    def charges(self) -> Sequence[Charge] | None:
        """Return the journal of a provider of the pipeline's own; None: it calls the simulator at `Ground.provider`.

        It is asked again and again while the run drains, and must not ask the code that is to be judged.
        """
        return None


Adapter = Callable[[Ground], Pipeline]

#: What the rig calls.
METHODS = ("apis", "programs", "call", "paid_as", "charges")


def load(name: str) -> Adapter:
    """Return the adapter of that name, `module:class`, from the working directory or what is installed.

    Raises:
        AdapterError: there is none, or a method is missing.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise AdapterError(f"{name!r} is no adapter: write MODULE:CLASS, e.g. examples.naive.adapter:Naive")
    # A console script does not look where it is called from; `python -m` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise AdapterError(f"{name}: there is no module {error.name!r} here ({Path.cwd()})") from error
    except AttributeError as error:
        raise AdapterError(f"{name}: {module} has no {attribute!r}") from error
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise AdapterError(f"{name} lacks {', '.join(missing)}: see paidonce.chaos.adapter.Pipeline")
    adapter: Adapter = found
    return adapter
