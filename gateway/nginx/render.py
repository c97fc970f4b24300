"""How does the plan become NGINX's configuration? A folder that `nginx -p FOLDER -c nginx.conf` starts from."""

import re
import shutil
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import orjson

from paidonce.gateway import problems
from paidonce.gateway.lua_config import config
from paidonce.gateway.plan import Plan, PlannedService
from paidonce.gateway.removed import REMOVED

#: Larger bodies wait on disk.
BODY_BUFFER_BYTES_MAX = 1_048_576
#: Connections that each worker keeps to a service, and for how long: less than the service keeps them (75 s), or a
#: request meets the end of one.
KEPT_CONNECTIONS, KEPT_S = 32, 60
#: nginx's own statuses, of requests that it could read.
ERROR_PAGES = {
    "405": "method-not-allowed",
    "413": "payload-too-large",
    "404": "not-found",
    "429": "rate-limited",
    "500": "internal",
    "502": "bad-gateway",
    "503": "unavailable",
    "504": "gateway-timeout",
}


class _Page(Template):
    """A configuration with `@{name}` to fill in: nginx has the dollar sign for itself."""

    delimiter = "@"
    idpattern = "(?!)"
    braceidpattern = "[a-z_]+"


def render(plan: Plan, folder: Path) -> None:
    """Write the configuration into `folder`, over what an earlier run left; run, logs and keys in it stay."""
    # The workers may run under another account: what they write lies in folders of theirs below `run`.
    for name, mode in (("run", 0o711), ("logs", 0o700), ("keys", 0o700)):
        (folder / name).mkdir(mode=mode, parents=True, exist_ok=True)
    shutil.rmtree(folder / "lua", ignore_errors=True)
    for package in ("paidonce.gateway", __package__):
        with as_file(files(package) / "lua") as lua:
            shutil.copytree(lua, folder / "lua", dirs_exist_ok=True)
    (folder / "config.json").write_bytes(orjson.dumps(config(plan, _told)))
    (folder / "nginx.conf").write_text(configuration(plan), encoding="utf-8")


def configuration(plan: Plan) -> str:
    """Return the text of nginx.conf."""
    listening, limits = plan.route_file.gateway, plan.route_file.limits
    zone = (
        f"    limit_req_zone $binary_remote_addr zone=address:10m rate={limits.address.requests_per_s}r/s;\n"
        "    limit_req_status 429;"
        if limits.address
        else ""
    )
    return _filled(
        "nginx.conf.template",
        authorities=listening.authorities,
        resolvers=f"    resolver {' '.join(listening.resolvers)};" if listening.resolvers else "",
        head_buffer_bytes=2 * plan.settings.api_head_bytes_max,
        address_zone=zone,
        upstreams="\n".join(_upstream(planned) for planned in plan.services),
        listen=listening.listen + (" ssl" if listening.tls_certificate else ""),
        tls=_tls(plan),
        trusted_proxies=_lines(
            8,
            *(f"set_real_ip_from {address};" for address in listening.trusted_proxies),
            *(["real_ip_header X-Forwarded-For;"] if listening.trusted_proxies else []),
        ),
        error_pages="\n".join(_error_page(statuses, code) for statuses, code in ERROR_PAGES.items()),
        # nginx takes the first of its patterns that fits: the longest has to come first.
        services="\n".join(
            [
                *(_service(plan, one) for one in sorted(plan.services, key=_length, reverse=True)),
                _nobodys(plan),
            ]
        ),
        metrics=_metrics(listening.metrics) if listening.metrics else "",
    )


def _length(planned: PlannedService) -> int:
    return len(planned.service.prefix)


def _filled(template: str, **values: object) -> str:
    page = _Page((files(__package__) / template).read_text(encoding="utf-8"))
    return page.substitute({key: str(value) for key, value in values.items()})


def _lines(indent: int, *lines: str) -> str:
    return "\n".join(" " * indent + line for line in lines)


def _upstream(planned: PlannedService) -> str:
    service = planned.service
    # One that is alone is never set aside: there is no other, and the breaker looks after it.
    aside = "max_fails=0" if len(service.upstreams) == 1 else "max_fails=1 fail_timeout=1s"
    return _lines(
        4,
        f"upstream paidonce_{service.name} {{",
        *(f"    server {urlsplit(url).netloc} {aside};" for url in service.upstreams),
        f"    keepalive {KEPT_CONNECTIONS};",
        f"    keepalive_timeout {KEPT_S}s;",
        "}",
    )


def _tls(plan: Plan) -> str:
    listening = plan.route_file.gateway
    if listening.tls_certificate is None:
        return ""
    return _lines(
        8,
        f"ssl_certificate {listening.tls_certificate};",
        f"ssl_certificate_key {listening.tls_key};",
        "ssl_protocols TLSv1.2 TLSv1.3;",
    )


def _error_page(statuses: str, code: str) -> str:
    problem = problems.ALL[code]
    body = problems.opening(problem) + ',"request_id":"$paidonce_request_id"}'
    return _lines(
        8,
        f"error_page {statuses} @paidonce_{problem.status};",
        f"location @paidonce_{problem.status} {{",
        "    default_type application/problem+json;",
        "    add_header X-Content-Type-Options nosniff always;",
        '    add_header Cache-Control "private, no-cache" always;',
        "    add_header X-Request-Id $paidonce_request_id always;",
        *(f'    add_header {name} "{value}" always;' for name, value in problems.headers(problem).items()),
        f"    return {problem.status} '{_quoted(body)}';",
        "}",
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _service(plan: Plan, planned: PlannedService) -> str:
    service, address = planned.service, plan.route_file.limits.address
    claims = _claim_variables(planned)
    named = {name for name, _ in claims.values()}
    removed = [*REMOVED, *(name for name in plan.identity_headers if name not in named)]
    return _filled(
        "service.conf.template",
        paths=_paths(service.prefix),
        name=service.name,
        claim_defaults=_lines(12, *(f'set ${variable} "";' for variable in claims)),
        address_limit=f"            limit_req zone=address burst={address.burst} nodelay;" if address else "",
        body_bytes_max=planned.body_bytes_max,
        body_buffer_bytes=min(2 * planned.body_bytes_max + 1, BODY_BUFFER_BYTES_MAX),
        scheme=urlsplit(service.upstreams[0]).scheme,
        upstream_tls=_upstream_tls(planned),
        removed_headers=_lines(12, *(f'proxy_set_header {name} "";' for name in removed)),
        claim_headers=_lines(12, *(f"proxy_set_header {name} ${variable};" for variable, (name, _) in claims.items())),
        answer_s=service.answer_s,
    )


def _paths(prefix: str) -> str:
    """Return what the location matches: the prefix and what lies below it, not all that begins with its letters."""
    return "/" if prefix == "/" else f'~ "^{re.escape(prefix)}(?:/|$)"'


def _claim_variables(planned: PlannedService) -> dict[str, tuple[str, str]]:
    """Return nginx's variable -> header and claim, for the headers that name the caller to this service."""
    headers = planned.service.claim_headers
    return {f"paidonce_claim_{i}": (name, headers[name]) for i, name in enumerate(sorted(headers))}


def _told(planned: PlannedService) -> dict[str, str]:
    return {variable: claim for variable, (_, claim) in _claim_variables(planned).items()}


def _nobodys(plan: Plan) -> str:
    """Return what answers a path that no service has: without it nginx looks for a file."""
    if any(planned.service.prefix == "/" for planned in plan.services):
        return ""
    return _lines(8, "location / {", "    return 404;", "}")


def _upstream_tls(planned: PlannedService) -> str:
    tls = planned.service.upstream_tls
    if tls is None:
        return ""
    ours: Iterable[str] = (
        [f"proxy_ssl_certificate {tls.certificate};", f"proxy_ssl_certificate_key {tls.key};"]
        if tls.certificate
        else []
    )
    return _lines(
        12,
        "proxy_ssl_verify on;",
        f"proxy_ssl_trusted_certificate {tls.authority};",
        f"proxy_ssl_name {tls.name};",
        "proxy_ssl_server_name on;",
        *ours,
    )


def _metrics(address: str) -> str:
    return _lines(
        4,
        "server {",
        f"    listen {address};",
        "    access_log off;",
        "    location = /metrics {",
        '        content_by_lua_block { require("paidonce.metrics").show() }',
        "    }",
        "}",
    )
