"""Who is let through to which route, and for how much?"""

import re
from datetime import UTC, datetime

import pytest

from paidonce.app.auth.policy import PUBLIC, RULES, SCOPES, Rule, allow, amount_limit, authorize, is_public
from paidonce.app.auth.principal import Principal
from paidonce.app.errors import InsufficientScopeError
from paidonce.app.settings import Settings

PAYMENT = "/v1/payments/{payment_id}"
REFUNDS = f"{PAYMENT}/refunds"


def caller(*scopes: str, roles: tuple[str, ...] = (), refund_limit: int | None = None) -> Principal:
    now = datetime.now(UTC)
    return Principal("joe", "acme", frozenset(scopes), frozenset(roles), now, refund_limit=refund_limit)


@pytest.mark.parametrize(("method", "template"), sorted(RULES))
def test_the_scopes_of_a_route_are_enough_and_all_others_together_are_not(method, template):
    scopes, roles = RULES[method, template].scopes, tuple(RULES[method, template].roles)
    authorize(caller(*scopes, roles=roles), method, template)
    if scopes:
        others = (*(SCOPES - scopes), "payments:writer", "PAYMENTS:WRITE", "*")
        with pytest.raises(InsufficientScopeError) as refused:
            authorize(caller(*others, roles=roles), method, template)
        assert (refused.value.status, refused.value.code) == (403, "insufficient-scope")
        assert refused.value.headers == {
            "WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'
        }


@pytest.mark.parametrize(
    ("method", "template"),
    [
        ("POST", "/v1/unknown"),
        ("DELETE", PAYMENT),
        ("POST", "/V1/payments"),
        ("get", "/v1/payments"),
        ("OPTIONS", "/v1/x"),
    ],
)
def test_a_route_that_is_not_in_the_table_is_refused(method, template):
    with pytest.raises(InsufficientScopeError) as refused:
        authorize(caller(*SCOPES), method, template)
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


def test_head_is_as_get_and_options_needs_no_scope():
    authorize(caller("payments:read"), "HEAD", PAYMENT)
    with pytest.raises(InsufficientScopeError):
        authorize(caller("payments:write"), "HEAD", PAYMENT)
    authorize(caller(), "OPTIONS", PAYMENT)


def test_a_rule_with_roles_takes_one_of_them():
    rule = Rule(frozenset({"a"}), roles=frozenset({"support", "admin"}))
    allow(caller("a", roles=("admin", "x")), rule)
    for principal in (caller("a"), caller("a", roles=("x",)), caller(roles=("admin",))):
        with pytest.raises(InsufficientScopeError):
            allow(principal, rule)


@pytest.mark.parametrize(("method", "template"), [row for row, rule in sorted(RULES.items()) if rule.roles])
def test_a_route_with_a_role_needs_it_whole(method, template):
    rule = RULES[method, template]
    for roles in ((), ("support",), ("Admin",), ("admin2",), ("*",), ("a,admin",)):
        with pytest.raises(InsufficientScopeError):
            authorize(caller(*rule.scopes, roles=roles), method, template)


@pytest.mark.parametrize(("claim", "limit"), [(None, 700), (0, 0), (699, 699), (701, 701)])
def test_the_limit_is_the_tokens_own_or_else_the_installations(claim, limit):
    settings = Settings(refund_limit_minor=700)
    assert amount_limit(caller("payments:refund", refund_limit=claim), "POST", REFUNDS, settings) == limit


@pytest.mark.parametrize(("method", "template"), [("POST", "/v1/payments"), ("GET", REFUNDS), ("POST", "/v1/x")])
def test_where_the_table_sets_no_limit_nobody_gets_one(method, template):
    with pytest.raises(InsufficientScopeError):
        amount_limit(caller(*SCOPES, refund_limit=10), method, template, Settings())


def test_a_row_is_one_method_of_one_route():
    part = r"(?:[a-z0-9.-]+|\{[a-z_]+\})"
    for method, template in {*RULES, *PUBLIC}:
        assert method in {"GET", "POST", "PUT", "PATCH", "DELETE"}
        assert re.fullmatch(rf"(?:/{part})+", template), f"{template} could stand for more than one route"


def test_nothing_below_v1_is_public_and_nothing_is_both():
    assert not [template for _, template in PUBLIC if template.startswith("/v1")]
    assert not PUBLIC & set(RULES)
    assert is_public("HEAD", "/healthz")
    assert is_public("OPTIONS", "/healthz")
    assert not is_public("POST", "/healthz")
    assert not is_public("OPTIONS", "/v1/payments")
    assert not is_public("GET", "/webhooks/provider")
