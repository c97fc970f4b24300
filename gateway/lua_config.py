"""What does a gateway's Lua have to know? The plan as one JSON document, `config.json`."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paidonce.app.api.problems import MethodNotAllowedError
from paidonce.app.issuers import TrustedIssuer
from paidonce.gateway import problems
from paidonce.gateway.plan import Plan, PlannedService, Resource

#: The first code point that Lua cannot judge by itself.
ASCII_END = 0x80


def config(plan: Plan, told: Callable[[PlannedService], Mapping[str, str]]) -> dict[str, Any]:
    """Return the document; every time in seconds, every size in bytes.

    `told` says what a service learns of its caller: place (a header, or nginx's variable for one) -> claim.
    """
    settings, limits = plan.settings, plan.route_file.limits
    return {
        "head_bytes_max": settings.api_head_bytes_max,
        "token_bytes_max": settings.token_bytes_max,
        "skew_s": plan.skew_s,
        "issuers": [_issuer(plan, issuer) for issuer in plan.issuers],
        "services": {planned.service.name: _service(planned, told(planned)) for planned in plan.services},
        "cors": _cors(plan),
        "subject_limit": None if limits.subject is None else limits.subject.model_dump(),
        "breaker": {"failures": settings.breaker_failures, "open_s": settings.breaker_open_s},
        "problems": _problems(),
        "unprintable": list(unprintable()),
    }


def _issuer(plan: Plan, issuer: TrustedIssuer) -> dict[str, Any]:
    settings = plan.settings
    return {
        "issuer": issuer.issuer,
        "jwks_url": issuer.jwks_url,
        "tenants": None if issuer.tenants is None else sorted(issuer.tenants),
        "tenant_claim": issuer.tenant_claim,
        "roles_claim": issuer.roles_claim,
        "refund_limit_claim": issuer.refund_limit_claim,
        "cache_s": settings.jwks_cache_s,
        "stale_s": settings.jwks_stale_h * 3_600,
        "cooldown_s": settings.jwks_cooldown_s,
    }


def _service(planned: PlannedService, told: Mapping[str, str]) -> dict[str, Any]:
    service = planned.service
    return {
        "name": service.name,
        "prefix": service.prefix,
        "issuers": [issuer.issuer for issuer in planned.issuers],
        "audiences": list(planned.audiences),
        "pass_token": service.pass_token,
        "claims": dict(told),
        "resources": [_resource(resource) for resource in planned.resources],
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "steps": resource.steps,
        "allow": resource.allow,
        "not_allowed": problems.opening(MethodNotAllowedError(resource.allow)),
        "public": resource.public,
        "methods": {
            method: {"scopes": list(needs.scopes), "roles": list(needs.roles)}
            for method, needs in resource.methods.items()
        },
        "options": {"scopes": [], "roles": []},
    }


def _cors(plan: Plan) -> dict[str, Any]:
    cors = plan.route_file.cors
    return {
        "origins": list(cors.origins),
        "methods": list(cors.methods),
        "methods_line": ", ".join(cors.methods),
        "request_headers": [name.lower() for name in cors.request_headers],
        "request_headers_line": ", ".join(cors.request_headers),
        "exposed_line": ", ".join(cors.exposed_headers),
        "credentials": cors.credentials,
        "max_age_s": cors.max_age_s,
    }


def _problems() -> dict[str, Any]:
    return {
        code: {
            "status": problem.status,
            "headers": problems.headers(problem),
            "opening": problems.opening(problem),
        }
        for code, problem in problems.ALL.items()
    }


def unprintable() -> Iterator[int]:
    """Yield the first and the last code point of each range outside ASCII that Python does not print.

    The API refuses a subject with one of them (`app/auth/claims.py`); Lua knows no Unicode tables.
    """
    first = None
    for point in range(ASCII_END, sys.maxunicode + 2):
        hidden = point <= sys.maxunicode and not chr(point).isprintable()
        if hidden and first is None:
            first = point
        elif not hidden and first is not None:
            yield from (first, point - 1)
            first = None
