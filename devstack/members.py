"""Which processes of ours make the stack, and how is each told where the others are? By environment variables."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paidonce.devstack.issuer.clients import OPERATIONS
from paidonce.devstack.issuer.logins import PER_MINUTE
from paidonce.devstack.ports import LOOPBACK, free_port

CONSUMERS = ("charges", "ledger", "notifications")


@dataclass(frozen=True)
class Member:
    """One process: its name in the stack, the arguments of `paidonce`, its environment, and how to see it is ready."""

    name: str
    arguments: Sequence[str]
    #: answers 200 once the process does its work; empty: it is ready as soon as it runs
    ready_url: str
    env: dict[str, str] = field(default_factory=dict)
    #: where it is started; None: in the run's folder
    folder: Path | None = None
    #: whether signals go to all that it has started too
    whole: bool = False
    #: what stands before the arguments; None: how the launch starts `paidonce`
    program: Sequence[str] | None = None
    #: whether any answer of `ready_url` will do, be it an error
    any_answer: bool = False


@dataclass(frozen=True)
class Ports:
    """The ports of our own processes, chosen before any is started, so that each can be told the others'."""

    apis: Sequence[int]
    issuer: int = field(default_factory=free_port)
    provider: int = field(default_factory=free_port)
    console: int = field(default_factory=free_port)

    @property
    def issuer_url(self) -> str:
        """The issuer's address, which is the `iss` of its tokens."""
        return _url(self.issuer)

    @property
    def provider_url(self) -> str:
        """The provider simulator's address."""
        return _url(self.provider)

    @property
    def console_url(self) -> str:
        """The console's address."""
        return _url(self.console)

    @property
    def api_urls(self) -> list[str]:
        """The addresses of the API's replicas."""
        return [_url(port) for port in self.apis]


def outsiders(ports: Ports, folder: Path, api_url: str) -> list[Member]:
    """Return the provider, which needs no server of ours; its journal is in `folder`, its webhooks go to the API."""
    provider = {
        "PAIDONCE_SIMULATOR_PORT": str(ports.provider),
        "PAIDONCE_SIMULATOR_JOURNAL": str(journal(folder)),
        "PAIDONCE_SIMULATOR_WEBHOOK_URL": api_url + "/webhooks/provider",
    }
    return [Member("provider", ["provider"], ports.provider_url + "/healthz", provider)]


def issuer(ports: Ports, folder: Path, dsn: str, *, logins_per_minute: int = PER_MINUTE) -> Member:
    """Return the issuer, with its keys in `folder`; it needs the server at `dsn` for logins, and none of our schema."""
    told = {
        "PAIDONCE_ISSUER_PORT": str(ports.issuer),
        "PAIDONCE_ISSUER_FOLDER": str(issuer_folder(folder)),
        "PAIDONCE_ISSUER_DSN": dsn,
        "PAIDONCE_ISSUER_LOGINS_PER_MINUTE": str(logins_per_minute),
    }
    return Member("issuer", ["issuer"], ports.issuer_url + "/healthz", told)


def insiders(ports: Ports, pairs: Collection[str] = ()) -> list[Member]:
    """Return the API's replicas and every worker; those named in `pairs` twice, as `relay` and `relay-2`."""
    apis = [
        Member(f"api-{number}", ["api"], _url(port) + "/readyz", {"PAIDONCE_API_PORT": str(port)})
        for number, port in enumerate(ports.apis, 1)
    ]
    consumers = [worker(f"consumer-{name}", "consumer", name) for name in CONSUMERS]
    workers = [worker("relay", "relay"), *consumers, worker("effects", "effects"), worker("cleaner", "cleaner")]
    seconds = [worker(f"{one.name}-2", *one.arguments) for one in workers if one.name in pairs]
    return [*apis, *workers, *seconds]


def console(ports: Ports, shown: Iterable[Member]) -> Member:
    """Return the console, which shows whether the members `shown` are ready."""
    told = {
        "PAIDONCE_CONSOLE_PORT": str(ports.console),
        "PAIDONCE_CONSOLE_TENANTS": json.dumps([OPERATIONS]),
        "PAIDONCE_CONSOLE_PROBES": json.dumps({one.name: one.ready_url for one in shown if one.ready_url}),
    }
    return Member("console", ["console"], ports.console_url + "/readyz", told)


def issuer_folder(folder: Path) -> Path:
    """Return where the issuer's keys are."""
    return folder / "issuer"


def journal(folder: Path) -> Path:
    """Return where the provider's journal is."""
    return folder / "provider.sqlite"


def worker(name: str, *arguments: str, folder: Path | None = None) -> Member:
    """Return a worker that is started by these arguments, in `folder`."""
    port = free_port()
    return Member(name, arguments, _url(port) + "/readyz", {"PAIDONCE_WORKER_PORT": str(port)}, folder)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
