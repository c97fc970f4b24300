"""What does a request pass, in which order? Envoy's own filters, and the Lua between them.

The address is counted first; then the Lua reads the token, Envoy checks its signature, the Lua says the verdict, and
the subject is counted; only then is a body waited for.
"""

from pathlib import Path

from paidonce.gateway.envoy.clusters import keys_name, keys_url
from paidonce.gateway.envoy.routes import requirement
from paidonce.gateway.envoy.terms import LIMITED, SUBJECT, TOKEN, Config, header, named, seconds, typed
from paidonce.gateway.plan import Plan

#: Seconds after which keys are fetched again, at most: Envoy does not ask for an unknown key id, so an issuer that
#: signs with a new key at once (Keycloak) is refused for so long.
KEYS_S = 60.0
#: Seconds that a fetch may take, and from a failure to the next.
FETCH_S, FETCH_AGAIN_S = 5.0, 1.0
#: Addresses and subjects counted at once; then the one not seen for longest is forgotten.
COUNTED_MAX = 50_000


def filters(plan: Plan, folder: Path) -> list[Config]:
    """Return them; the Lua lies in `folder`."""
    limits = plan.route_file.limits
    found = [_lua(folder, "mark", request="begin", response="finish")]
    if limits.address is not None:
        per_s, burst = limits.address.requests_per_s, limits.address.burst
        by_address = _limit(
            "address", {"remote_address": {}}, key="remote_address", at_once=1 + burst, refill=per_s, every_s=1
        )
        found.append(by_address)
    found += [_lua(folder, "ask", request="ask"), _jwt(plan), _lua(folder, "pass", request="pass")]
    if limits.subject is not None:
        subject = {"request_headers": {"header_name": SUBJECT, "descriptor_key": "subject", "skip_if_absent": True}}
        requests = limits.subject.requests
        by_subject = _limit(
            "subject", subject, key="subject", at_once=requests, refill=requests, every_s=limits.subject.window_s
        )
        found.append(by_subject)
    largest = max(planned.body_bytes_max for planned in plan.services)
    found.append(
        named("envoy.filters.http.buffer", typed("filters.http.buffer.v3.Buffer", max_request_bytes=max(1, largest)))
    )
    router = typed("filters.http.router.v3.Router", suppress_envoy_headers=True)
    return [*found, named("envoy.filters.http.router", router)]


def _lua(folder: Path, module: str, *, request: str, response: str | None = None) -> Config:
    lines = [
        f'package.path = "{folder}/lua/?.lua;" .. package.path',
        'local strict_json = require "paidonce.strict_json"',
        'local settings = require "paidonce.settings"',
        f'settings.load("{folder}/config.json", strict_json.parse_object, strict_json.NULL)',
        f'local filter = require "paidonce.{module}"',
        f"function envoy_on_request(handle) filter.{request}(handle) end",
    ]
    if response is not None:
        lines.append(f"function envoy_on_response(handle) filter.{response}(handle) end")
    code = {"inline_string": "\n".join(lines)}
    return named(f"paidonce.{module}", typed("filters.http.lua.v3.Lua", default_source_code=code))


def _jwt(plan: Plan) -> Config:
    audiences = sorted({name for planned in plan.services for name in planned.audiences})
    providers = {
        requirement(number): {
            "issuer": issuer.issuer,
            "audiences": audiences,
            "clock_skew_seconds": plan.skew_s,
            "require_expiration": True,
            "from_headers": [{"name": TOKEN}],
            "remote_jwks": {
                "http_uri": {"uri": keys_url(issuer), "cluster": keys_name(number), "timeout": seconds(FETCH_S)},
                "cache_duration": seconds(min(KEYS_S, plan.settings.jwks_cache_s)),
                # Else the first request fetches, and every one is refused while the issuer is away.
                "async_fetch": {"failed_refetch_duration": seconds(FETCH_AGAIN_S)},
            },
        }
        for number, issuer in enumerate(plan.issuers)
    }
    needs = {name: {"provider_name": name} for name in providers}
    config = typed("filters.http.jwt_authn.v3.JwtAuthentication", providers=providers, requirement_map=needs)
    return named("envoy.filters.http.jwt_authn", config)


def _limit(what: str, action: Config, *, key: str, at_once: int, refill: int, every_s: int) -> Config:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}, "runtime_key": "paidonce.none"}
    bucket = {"max_tokens": at_once, "tokens_per_fill": refill, "fill_interval": seconds(every_s)}
    config = typed(
        "filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix=what,
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[{"actions": [action]}],
        # An empty value is any: each gets a bucket of its own.
        descriptors=[{"entries": [{"key": key}], "token_bucket": bucket}],
        always_consume_default_token_bucket=False,
        max_dynamic_descriptors=COUNTED_MAX,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        response_headers_to_add=[header(LIMITED, what)],
    )
    return named(f"paidonce.limit.{what}", config)
