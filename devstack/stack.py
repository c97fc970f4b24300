"""How does the whole stack stand on this machine? Servers, issuer, provider, schema, then every process of ours."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from pydantic import SecretStr

from paidonce.app.db import engine
from paidonce.app.settings import Settings
from paidonce.devstack.detour import Detour, straight, url
from paidonce.devstack.issuer.clients import NATIVE
from paidonce.devstack.issuer.first_people import first_person
from paidonce.devstack.issuer.logins import PER_MINUTE
from paidonce.devstack.logins import Logins
from paidonce.devstack.members import Ports, console, insiders, issuer, journal, outsiders
from paidonce.devstack.pace import PACE, environment, new_secret
from paidonce.devstack.person_login import Door, log_in
from paidonce.devstack.pgbouncer import PgBouncer
from paidonce.devstack.ports import free_port
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import Report, Servers, start_servers
from paidonce.devstack.standing import Standing
from paidonce.devstack.supervisor import Launch, Supervisor, plainly
from paidonce.devstack.tokens import fetch_token
from paidonce.devstack.yours import Yours
from paidonce.migrations.upgrade import upgrade


@dataclass(frozen=True)
class Addresses:
    """Where everything is: URLs, a DSN, `host:port` of Kafka, and the path of the provider's journal."""

    api: str
    apis: list[str]
    issuer: str
    jwks: str
    provider: str
    dsn: str
    kafka: str
    valkey: str
    journal: str
    #: the operators' page; None without one
    console: str | None
    #: your own application's; None without one
    app: str | None


class Stack(Standing):
    """The stack while the `with` block lasts; leaves no process and no file.

    One server of each, unless `brokers` is 3 (Kafka as a cluster, everything replicated) or `standby` is set
    (PostgreSQL with a synchronous one); `disk_mb` gives PostgreSQL a disk of its own, where that can be. `pooled` puts
    a PgBouncer in transaction mode before it, past which only windows, LISTEN and partitions go; with `roles` each
    process logs in by its own role's rights. Of the workers in `pairs` there are two, the second as `relay-2`.
    `overrides` are settings of the children by field name, over those of `devstack/pace.py`; both yield to what the
    environment sets. `launch` starts one of ours otherwise than by the command line; `detour` leads our processes, and
    by `addresses` the clients of the API, to the servers by other addresses. `logins_per_minute` is the issuer's bound
    for one name. `yours` runs beside it, and the `console` where one is
    asked for.

    Raises:
        StackError: something did not start; says what was waited for.
    """

    def __init__(
        self,
        *,
        replicas: int = 1,
        durable: bool = True,
        brokers: int = 1,
        standby: bool = False,
        disk_mb: int | None = None,
        pooled: bool = False,
        roles: bool = False,
        pairs: Collection[str] = (),
        overrides: Mapping[str, Any] | None = None,
        logins_per_minute: int = PER_MINUTE,
        yours: Yours | None = None,
        console: bool = False,
        launch: Launch = plainly,
        detour: Detour = straight,
        report: Report = lambda _words: None,
    ) -> None:
        self._replicas, self._launch, self._report, self._detour = replicas, launch, report, detour
        self._durable, self._brokers, self._standby = durable, brokers, standby
        self._disk_mb, self._pooled = disk_mb, pooled
        self._logins = Logins() if roles else None
        self._pairs, self._yours = pairs, yours or Yours()
        self._overrides, self._logins_per_minute = dict(overrides or {}), logins_per_minute
        self._with_console = console
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.run = started.enter_context(Run())
            self._start(started)
            self._closing = started.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    @property
    def settings(self) -> Settings:
        """The settings of the children."""
        return self._settings

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the children that are not defaults or the environment's, as variables; secrets too."""
        return environment(self._own)

    @property
    def addresses(self) -> Addresses:
        """Where everything is: directly, but for the API's replicas, which clients reach by the detour."""
        ports, servers = self._ports, self._servers
        return Addresses(
            api=self._api_urls[0],
            apis=self._api_urls,
            issuer=ports.issuer_url,
            jwks=ports.issuer_url + "/.well-known/jwks.json",
            provider=ports.provider_url,
            dsn=servers.postgres.dsn,
            kafka=servers.kafka.bootstrap,
            valkey=servers.valkey.url,
            journal=str(journal(self.run.folder)),
            console=ports.console_url if self._with_console else None,
            app=self._yours.url,
        )

    def token(
        self,
        *,
        tenant: str = "acme",
        sub: str | None = None,
        scopes: Collection[str] = (),
        roles: Collection[str] = (),
        ttl: int | None = None,
    ) -> str:
        """Return an access token of the stack's issuer: all scopes unless some are named; `ttl` in seconds."""
        return fetch_token(self._ports.issuer_url, tenant=tenant, sub=sub, scopes=scopes, roles=roles, ttl=ttl)

    def person_token(self, *, tenant: str = "acme") -> str:
        """Return the access token that the tenant's development person gets by logging in."""
        url = self._ports.issuer_url
        door = Door(f"{url}/authorize", f"{url}/token", NATIVE, url)
        return str(log_in(door, *first_person(tenant))["access_token"])

    def _start(self, started: ExitStack) -> None:
        given = Settings()
        self._ports = Ports([free_port() for _ in range(self._replicas)])
        self._api_urls = [
            url(self._detour, f"api-{number}", given) for number, given in enumerate(self._ports.api_urls, 1)
        ]
        self._supervisor = Supervisor(self.run, self._launch)
        started.callback(self._stop)
        own = self._before_servers(given)
        # It needs no server, and starts while the servers do.
        self._supervisor.start(outsiders(self._ports, self.run.folder, self._api_urls[0]), environment(own))
        self._report("starting PostgreSQL, Apache Kafka and Valkey")
        self._servers = start_servers(
            self.run,
            given,
            durable=self._durable,
            report=self._report,
            brokers=self._brokers,
            standby=self._standby,
            disk_mb=self._disk_mb,
            detour=self._detour,
        )
        own |= self._of_servers(self._servers)
        self._own, self._settings = own, Settings(**own)
        # Before the schema, so that it answers when the API asks for its keys.
        vouching = issuer(
            self._ports, self.run.folder, self._servers.postgres.dsn, logins_per_minute=self._logins_per_minute
        )
        self._supervisor.start([vouching], environment(own))
        self._migrate()
        yours = self._yours.members(environment(own))
        ours = insiders(self._ports, self._pairs)
        if self._logins:
            ours = [self._logins.of(member, self._settings) for member in ours]
        seen = [console(self._ports, [vouching, *ours, *yours])] if self._with_console else []
        self._supervisor.start([*ours, *yours, *seen], environment(own))
        self.wait_ready()
        self._supervisor.watch()

    def _before_servers(self, given: Settings) -> dict[str, Any]:
        wished = PACE | self._overrides
        return {name: value for name, value in wished.items() if name not in given.model_fields_set} | {
            "issuer": self._ports.issuer_url,
            "jwks_folder": self.run.folder / "keys",
            **self._provider(),
            **self._key_set(),
        }

    def _provider(self) -> dict[str, str]:
        """Say where the simulator is, whichever dialect it speaks: no key of an account ever leaves a stack."""
        address = url(self._detour, "provider", self._ports.provider_url)
        stripe = {"stripe_url": address, "stripe_key": "sk_test_simulator", "stripe_webhook_secret": new_secret()}
        return {"provider_url": address, "provider_secret": new_secret()} | stripe

    def _key_set(self) -> dict[str, str]:
        """Say where the issuer's key set is, where its own discovery would lead past the detour."""
        jwks = self._ports.issuer_url + "/.well-known/jwks.json"
        return {} if self._detour is straight else {"jwks_url": url(self._detour, "issuer", jwks)}

    def _of_servers(self, servers: Servers) -> dict[str, Any]:
        own: dict[str, Any] = {
            **self._of_postgres(servers.postgres.dsn),
            "kafka": servers.kafka.led or servers.kafka.bootstrap,
            "valkey": url(self._detour, "valkey", servers.valkey.url),
        }
        if self._brokers > 1:
            own["topic_replication"] = self._brokers
        if servers.postgres.process and not servers.kafka.process:
            # A broker of others remembers earlier runs, whose windows this fresh database never had.
            name = self.run.folder.name
            own |= {"topic": f"payments-{name}", "relay_name": f"paidonce-relay-{name}", "own_topics": f"{{}}s-{name}"}
        return own

    def _of_postgres(self, dsn: str) -> dict[str, str]:
        if not self._pooled:
            return {"dsn": url(self._detour, "postgres", dsn)}
        pooler = PgBouncer(self.run, dsn, self._logins.users if self._logins else {})
        self._report("PgBouncer is ready")
        return {
            "dsn": url(self._detour, "postgres", pooler.led(dsn)),
            "dsn_direct": url(self._detour, "postgres-direct", dsn),
        }

    def _migrate(self) -> None:
        direct = {"dsn": SecretStr(self._servers.postgres.dsn), "dsn_direct": None}
        bind = engine(self._settings.model_copy(update=direct), size=1)
        try:
            upgrade(bind, self._settings, with_roles=self._logins is not None)
            if self._logins:
                self._logins.make(bind)
        finally:
            bind.dispose()
        self._report("the schema is there")
