"""Who may do what? One table: method and route template to scopes and roles.

A route that is neither in the table nor public is refused. The tenant is not in the table,
because no token is valid without one; rows are the caller's own or do not exist for it
(docs/design.md, "Who may call" and "The API").
"""

from collections.abc import Mapping
from dataclasses import dataclass

from paidonce.app.auth.principal import Principal
from paidonce.app.errors import InsufficientScopeError


@dataclass(frozen=True, slots=True)
class Rule:
    """What a caller needs: all of the scopes, and one of the roles unless there are none."""

    scopes: frozenset[str]
    roles: frozenset[str] = frozenset()


def _needs(*scopes: str) -> Rule:
    return Rule(frozenset(scopes))


_PAYMENT = "/v1/payments/{payment_id}"
_CUSTOMER = "/v1/customers/{customer_id}"
_CART = "/v1/carts/{cart_id}"
_ENDPOINT = "/v1/webhook-endpoint"

RULES: Mapping[tuple[str, str], Rule] = {
    ("POST", "/v1/payments"): _needs("payments:write"),
    ("GET", "/v1/payments"): _needs("payments:read"),
    ("GET", _PAYMENT): _needs("payments:read"),
    ("PATCH", _PAYMENT): _needs("payments:write"),
    ("POST", f"{_PAYMENT}/cancel"): _needs("payments:write"),
    ("POST", f"{_PAYMENT}/refunds"): _needs("payments:refund"),
    ("GET", f"{_PAYMENT}/refunds"): _needs("payments:read"),
    ("GET", f"{_PAYMENT}/refunds/{{refund_id}}"): _needs("payments:read"),
    ("PUT", _CART): _needs("payments:write"),
    ("GET", _CART): _needs("payments:write"),
    ("DELETE", _CART): _needs("payments:write"),
    ("POST", f"{_CART}/checkout"): _needs("payments:write"),
    ("PUT", _CUSTOMER): _needs("customers:write"),
    ("GET", _CUSTOMER): _needs("customers:read"),
    ("PATCH", _CUSTOMER): _needs("customers:write"),
    ("DELETE", _CUSTOMER): _needs("customers:write"),
    ("PUT", _ENDPOINT): _needs("webhooks:write"),
    ("GET", _ENDPOINT): _needs("webhooks:write"),
    ("DELETE", _ENDPOINT): _needs("webhooks:write"),
    ("GET", "/v1/me"): _needs(),
}

#: No token is asked for. The provider's webhooks carry a signature instead.
PUBLIC = frozenset(
    {
        ("POST", "/webhooks/provider"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/docs/{asset}"),
    }
)

#: Every scope that some route asks for.
SCOPES = frozenset(scope for rule in RULES.values() for scope in rule.scopes)

_TEMPLATES = frozenset(template for _, template in RULES)


def is_public(method: str, route_template: str) -> bool:
    """Tell whether a route asks for no token; HEAD and OPTIONS go with the route's GET or POST."""
    if method == "OPTIONS":
        return any((other, route_template) in PUBLIC for other in ("GET", "POST"))
    return (_as_get(method), route_template) in PUBLIC


def authorize(principal: Principal, method: str, route_template: str) -> None:
    """Let the caller through, or raise InsufficientScopeError; OPTIONS needs a valid token and no scope."""
    if method == "OPTIONS" and route_template in _TEMPLATES:
        return
    allow(principal, RULES.get((_as_get(method), route_template)))


def allow(principal: Principal, rule: Rule | None) -> None:
    """Hold the caller to one rule; without a rule nobody may. Raises InsufficientScopeError."""
    if rule is None:
        raise InsufficientScopeError
    if not rule.scopes <= principal.scopes:
        raise InsufficientScopeError(rule.scopes)
    if rule.roles and rule.roles.isdisjoint(principal.roles):
        raise InsufficientScopeError


def _as_get(method: str) -> str:
    return "GET" if method == "HEAD" else method
