"""Who is let through to which route?"""

from datetime import UTC, datetime

import pytest

from paidonce.app.auth.policy import PUBLIC, RULES, SCOPES, Rule, allow, authorize, is_public
from paidonce.app.auth.principal import Principal
from paidonce.app.errors import InsufficientScopeError

PAYMENT = "/v1/payments/{payment_id}"


def caller(*scopes: str, roles: tuple[str, ...] = ()) -> Principal:
    return Principal("joe", "acme", frozenset(scopes), frozenset(roles), datetime.now(UTC))


@pytest.mark.parametrize(("method", "template"), sorted(RULES))
def test_the_scopes_of_a_route_are_enough_and_all_others_together_are_not(method, template):
    scopes = RULES[method, template].scopes
    authorize(caller(*scopes), method, template)
    if scopes:
        with pytest.raises(InsufficientScopeError) as refused:
            authorize(caller(*(SCOPES - scopes), "payments:writer", "PAYMENTS:WRITE", "*"), method, template)
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


def test_nothing_below_v1_is_public_and_nothing_is_both():
    assert not [template for _, template in PUBLIC if template.startswith("/v1")]
    assert not PUBLIC & set(RULES)
    assert is_public("HEAD", "/healthz")
    assert is_public("OPTIONS", "/healthz")
    assert not is_public("POST", "/healthz")
    assert not is_public("OPTIONS", "/v1/payments")
    assert not is_public("GET", "/webhooks/provider")
