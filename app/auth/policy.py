"""Who may do what? One table: method and route template to scopes, roles, and how much.

A route that is neither in the table nor public is refused. The tenant is not in the table,
because no token is valid without one; rows are the caller's own or do not exist for it
(docs/design.md, "Who may call" and "The API"). An amount is known only where the payment is
locked: the table says what the caller's limit is, and the service holds the amount against it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paidonce.app.auth.principal import Principal
from paidonce.app.errors import InsufficientScopeError
from paidonce.app.settings import Settings

#: Whoever decides where a tenant's events go may read them all.
ADMIN = "admin"
#: Whoever runs the installation for a tenant may see how its payments came about; whoever runs all of it, all of them
#: (docs/console.md).
OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a caller needs: all of the scopes, one of the roles unless there are none, and no more than the limit."""

    scopes: frozenset[str]
    roles: frozenset[str] = frozenset()
    #: the most that the caller may move here, in minor units; None: nothing that the route does is limited by amount
    limit: Callable[[Principal, Settings], int] | None = None


def _needs(*scopes: str, role: str | None = None, limit: Callable[[Principal, Settings], int] | None = None) -> Rule:
    return Rule(frozenset(scopes), frozenset() if role is None else frozenset({role}), limit)


def _refund_limit(principal: Principal, settings: Settings) -> int:
    """The token's own limit, be it higher or lower; the installation's where the token has none."""
    return settings.refund_limit_minor if principal.refund_limit is None else principal.refund_limit


_PAYMENT = "/v1/payments/{payment_id}"
_CUSTOMER = "/v1/customers/{customer_id}"
_CART = "/v1/carts/{cart_id}"
_ENDPOINT = "/v1/webhook-endpoint"

RULES: Mapping[tuple[str, str], Rule] = {
    ("POST", "/v1/payments"): _needs("payments:write"),
    ("GET", "/v1/payments"): _needs("payments:read"),
    ("GET", _PAYMENT): _needs("payments:read"),
    ("GET", f"{_PAYMENT}/trail"): _needs("payments:read", role=OPERATOR),
    ("PATCH", _PAYMENT): _needs("payments:write"),
    ("POST", f"{_PAYMENT}/cancel"): _needs("payments:write"),
    ("POST", f"{_PAYMENT}/refunds"): _needs("payments:refund", limit=_refund_limit),
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
    ("PUT", _ENDPOINT): _needs("webhooks:write", role=ADMIN),
    ("GET", _ENDPOINT): _needs("webhooks:write"),
    ("DELETE", _ENDPOINT): _needs("webhooks:write", role=ADMIN),
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


def amount_limit(principal: Principal, method: str, route_template: str, settings: Settings) -> int:
    """Return how many minor units the caller may move here; whoever knows the amount holds it against that.

    Raises:
        InsufficientScopeError: the table sets no limit for this route, so nobody may ask for one.
    """
    rule = RULES.get((method, route_template))
    if rule is None or rule.limit is None:
        raise InsufficientScopeError
    return rule.limit(principal, settings)


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
