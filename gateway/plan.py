"""What is every gateway to do? The route file, with the API's settings and its policy in the places left open.

Both generators write from this plan, so that NGINX, Envoy and the API cannot disagree about a route.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paidonce.app.auth import policy, vouched
from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings
from paidonce.gateway.route_file import RouteFile, Service


@dataclass(frozen=True, slots=True)
class Needs:
    """What a caller of one method needs: all scopes, one of the roles unless there are none, or nothing at all."""

    scopes: tuple[str, ...]
    roles: tuple[str, ...]
    public: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """One path template with its methods; HEAD goes with GET, OPTIONS with any."""

    template: str
    methods: Mapping[str, Needs]

    @property
    def public(self) -> bool:
        """Tell whether its methods ask for no token."""
        return any(needs.public for needs in self.methods.values())

    @property
    def allow(self) -> str:
        """The header `Allow`, as the API writes it."""
        also = ["HEAD"] if "GET" in self.methods else []
        return ", ".join(sorted([*self.methods, *also, "OPTIONS"]))

    @property
    def steps(self) -> list[str | bool]:
        """The template's segments; True for one that the caller names."""
        return [True if step.startswith("{") else step for step in self.template[1:].split("/")]


@dataclass(frozen=True, slots=True)
class PlannedService:
    """One service, with nothing left open."""

    service: Service
    resources: tuple[Resource, ...]
    issuers: tuple[TrustedIssuer, ...]
    audiences: tuple[str, ...]
    body_bytes_max: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    route_file: RouteFile
    settings: Settings
    issuers: tuple[TrustedIssuer, ...]
    services: tuple[PlannedService, ...]
    skew_s: int

    @property
    def identity_headers(self) -> tuple[str, ...]:
        """Every header that names a caller to any service: none of them may come from outside."""
        named = {name for planned in self.services for name in planned.service.claim_headers}
        who = {vouched.SUB, vouched.ISSUER, vouched.TENANT}
        believed = who | {vouched.SCOPES, vouched.ROLES, vouched.REFUND_LIMIT}
        return tuple(sorted(believed | named, key=str.lower))


def plan(route_file: RouteFile, settings: Settings) -> Plan:
    """Return the plan; raises ConfigurationError for a service whose issuer or audience is unknown."""
    issuers = route_file.issuers or tuple(settings.trusted_issuers())
    return Plan(
        route_file=route_file,
        settings=settings,
        issuers=issuers,
        services=tuple(_planned(service, issuers, settings) for service in route_file.services),
        skew_s=settings.token_skew_s if route_file.skew_s is None else route_file.skew_s,
    )


def _planned(service: Service, issuers: tuple[TrustedIssuer, ...], settings: Settings) -> PlannedService:
    names = [issuer.issuer for issuer in issuers] if service.issuers is None else list(service.issuers)
    unknown = sorted(set(names) - {issuer.issuer for issuer in issuers})
    if unknown:
        raise ConfigurationError(f"service {service.name}: no such issuer among the trusted: {', '.join(unknown)}")
    trusted = tuple(issuer for issuer in issuers if issuer.issuer in names)
    return PlannedService(
        service=service,
        resources=tuple(_resources(_paidonce() if service.policy else _own(service))),
        issuers=trusted,
        audiences=service.audiences or tuple(dict.fromkeys(name for one in trusted for name in one.audiences)),
        body_bytes_max=settings.api_body_bytes_max if service.body_bytes_max is None else service.body_bytes_max,
    )


def _paidonce() -> Iterable[tuple[str, str, Needs]]:
    for (method, template), rule in policy.RULES.items():
        yield method, template, Needs(tuple(sorted(rule.scopes)), tuple(sorted(rule.roles)))
    for method, template in sorted(policy.PUBLIC):
        yield method, template, Needs((), (), public=True)


def _own(service: Service) -> Iterable[tuple[str, str, Needs]]:
    for route in service.routes:
        yield route.method, route.path, Needs(route.scopes, route.roles, public=route.public)


def _resources(rows: Iterable[tuple[str, str, Needs]]) -> list[Resource]:
    by_template: dict[str, dict[str, Needs]] = {}
    for method, template, needs in rows:
        methods = by_template.setdefault(template, {})
        if method in methods:
            raise ConfigurationError(f"two routes {method} {template}")
        if any(other.public != needs.public for other in methods.values()):
            raise ConfigurationError(f"{template} has methods with and without a token: give them paths of their own")
        methods[method] = needs
    found = [Resource(template, methods) for template, methods in by_template.items()]
    # A word is tried before a place that any word fits: /carts/mine before /carts/{cart_id}.
    return sorted(found, key=lambda one: [step is True for step in one.steps])
