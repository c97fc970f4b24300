"""Do the gateways enforce the API's own policy, all of it, and with the API's own sizes and times?"""

from importlib.resources import as_file, files

import pytest

from paidonce.app.auth import policy
from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings
from paidonce.gateway.plan import plan
from paidonce.gateway.route_file import RouteFile, read

OURS = {"name": "paidonce", "prefix": "/", "policy": "paidonce", "upstreams": ["http://127.0.0.1:8080"]}


def planned(*services: dict, **settings):
    return plan(RouteFile.model_validate({"services": services or [OURS]}), Settings(**settings))


def test_every_rule_of_the_policy_is_a_route_and_nothing_else_is() -> None:
    (service,) = planned().services
    found = {
        (method, resource.template): needs
        for resource in service.resources
        for method, needs in resource.methods.items()
    }
    assert found.keys() == policy.RULES.keys() | policy.PUBLIC
    for route, rule in policy.RULES.items():
        assert (set(found[route].scopes), set(found[route].roles)) == (rule.scopes, rule.roles)
        assert not found[route].public
    assert all(found[route].public for route in policy.PUBLIC)


def test_the_apis_settings_fill_what_the_file_leaves_open() -> None:
    one = TrustedIssuer(issuer="https://a.example", audiences=("x", "y"), tenants=frozenset({"acme"}))
    found = planned(issuers=[one], token_skew_s=7, api_body_bytes_max=99)
    assert (found.issuers, found.skew_s) == ((one,), 7)
    (service,) = found.services
    assert (service.audiences, service.issuers, service.body_bytes_max) == (("x", "y"), (one,), 99)


def test_an_issuer_that_is_not_trusted() -> None:
    with pytest.raises(ConfigurationError, match=r"https://b\.example"):
        planned(OURS | {"issuers": ["https://b.example"]})


def test_a_word_comes_before_a_place_for_any() -> None:
    routes = [{"method": "GET", "path": path} for path in ("/r/{id}", "/r/mine", "/r/{id}/a", "/r/mine/a")]
    service = {"name": "r", "prefix": "/r", "upstreams": ["http://a:1"], "audiences": ["r"], "routes": routes}
    (found,) = planned(service).services
    templates = [resource.template for resource in found.resources]
    assert templates.index("/r/mine") < templates.index("/r/{id}")
    assert templates.index("/r/mine/a") < templates.index("/r/{id}/a")


@pytest.mark.parametrize(
    ("why", "routes"),
    [
        ("two routes GET /r/a", [{"method": "GET", "path": "/r/a"}] * 2),
        ("with and without", [{"method": "GET", "path": "/r/a"}, {"method": "PUT", "path": "/r/a", "public": True}]),
    ],
)
def test_routes_that_contradict_each_other(why, routes) -> None:
    service = {"name": "r", "prefix": "/r", "upstreams": ["http://a:1"], "audiences": ["r"], "routes": routes}
    with pytest.raises(ConfigurationError, match=why):
        planned(service)


def test_every_header_that_names_a_caller_is_known() -> None:
    other = {
        "name": "r",
        "prefix": "/r",
        "upstreams": ["http://a:1"],
        "audiences": ["r"],
        "routes": [{"method": "GET", "path": "/r"}],
        "claim_headers": {"X-Who": "sub"},
    }
    known = ("X-Issuer", "X-Refund-Limit", "X-Roles", "X-Scopes", "X-Tenant", "X-User-Id", "X-Who")
    assert planned(OURS, other).identity_headers == known


def test_the_route_file_that_comes_with_paidonce() -> None:
    with as_file(files("paidonce.gateway") / "routes.toml") as own:
        (service,) = plan(read(own), Settings()).services
    assert service.audiences == ("paidonce",)
    assert service.service.claim_headers == {"X-User-Id": "sub", "X-Scopes": "scope", "X-Tenant": "tenant"}
