"""Where does a request go? Nowhere, until the Lua has named a route that no caller can name.

`ask.lua` names the issuer whose keys are to vouch for the token, `pass.lua` the service; a request that came through
neither is answered 404, and one that came through one of them only, 500.
"""

from collections.abc import Iterator

from paidonce.gateway.envoy.clusters import service_name
from paidonce.gateway.envoy.terms import FRESH_ID, HEAD, ROUTE, SUBJECT, TOKEN, Config, seconds, typed
from paidonce.gateway.plan import Plan, PlannedService
from paidonce.gateway.removed import REMOVED

#: Methods that may be repeated by themselves (RFC 9110, section 9.2.2), of those that the services know.
REPEATABLE = "GET|HEAD|OPTIONS|PUT|DELETE"
#: Nobody has begun to read the request.
UNREAD = "connect-failure,refused-stream,reset-before-request"
#: Nobody has answered it.
UNANSWERED = f"{UNREAD},reset"
#: Of Envoy's own, for itself or for who it talks to.
ENVOYS_OWN = ("x-envoy-external-address", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count")
#: What the filters have told each other.
OURS = (ROUTE, TOKEN, SUBJECT, HEAD, FRESH_ID)


def requirement(number: int) -> str:
    """Return the name of what a token of that issuer needs."""
    return f"issuer_{number}"


def route_config(plan: Plan) -> Config:
    """Return the routes."""
    host = {
        "name": "gateway",
        "domains": ["*"],
        "routes": [*_asked(plan), *(route for planned in plan.services for route in _service(planned)), _nowhere()],
        "request_headers_to_remove": sorted({name.lower() for name in (*REMOVED, *ENVOYS_OWN, *OURS)}),
    }
    return {"name": "gateway", "virtual_hosts": [host]}


def _asked(plan: Plan) -> Iterator[Config]:
    yield {"match": _named("public"), "direct_response": {"status": 500}}
    for number, issuer in enumerate(plan.issuers):
        token = typed("filters.http.jwt_authn.v3.PerRouteConfig", requirement_name=requirement(number))
        yield {
            "match": _named(f"issuer {issuer.issuer}"),
            "direct_response": {"status": 500},
            "typed_per_filter_config": {"envoy.filters.http.jwt_authn": token},
        }


def _service(planned: PlannedService) -> Iterator[Config]:
    """Yield the service's routes, which differ in what is sent again when no answer comes."""
    own = _named(f"service {planned.service.name}")
    yield _route(planned, own, UNANSWERED, _header(":method", safe_regex={"regex": REPEATABLE}))
    if planned.service.repeat_keyed:
        post = _header(":method", exact="POST")
        yield _route(planned, own, UNANSWERED, post, {"name": "idempotency-key", "present_match": True})
    yield _route(planned, own, UNREAD)


def _route(planned: PlannedService, own: Config, retry_on: str, *more: Config) -> Config:
    buffer = typed("filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": planned.body_bytes_max})
    return {
        "match": own | {"headers": [*own["headers"], *more]},
        "route": {
            "cluster": service_name(planned),
            "timeout": seconds(planned.service.answer_s),
            "retry_policy": {
                "retry_on": retry_on,
                "num_retries": 1,
                "retry_host_predicate": [_not_the_same()],
                "host_selection_retry_max_attempts": 3,
            },
        },
        "typed_per_filter_config": {"envoy.filters.http.buffer": buffer},
    }


def _not_the_same() -> Config:
    config = typed("retry.host.previous_hosts.v3.PreviousHostsPredicate")
    return {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": config}


def _nowhere() -> Config:
    return {"match": {"prefix": "/"}, "direct_response": {"status": 404}}


def _named(route: str) -> Config:
    return {"prefix": "/", "headers": [_header(ROUTE, exact=route)]}


def _header(name: str, **match: object) -> Config:
    return {"name": name, "string_match": match}
