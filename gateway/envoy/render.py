"""How does the plan become Envoy's configuration? A folder that `envoy -c FOLDER/envoy.json` starts from."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import orjson

from paidonce.gateway.envoy.clusters import clusters
from paidonce.gateway.envoy.filters import filters
from paidonce.gateway.envoy.replies import local_replies
from paidonce.gateway.envoy.routes import route_config
from paidonce.gateway.envoy.terms import (
    FRESH_ID,
    HEAD,
    NOTE,
    PREFIX,
    Config,
    file,
    header,
    listen_address,
    named,
    typed,
)
from paidonce.gateway.lua_config import config
from paidonce.gateway.plan import Plan

#: Header lines of a request at most: the head's size is what bounds them.
LINES_MAX = 4_096
#: Seconds for a head to arrive, for a whole request, and that an idle connection is kept.
HEAD_S, REQUEST_S, KEPT_S = "10s", "60s", "60s"


def render(plan: Plan, folder: Path) -> None:
    """Write the configuration into `folder`, over what an earlier run left.

    Raises:
        ConfigurationError: Envoy cannot do what the route file asks for; says what.
    """
    folder = folder.resolve()
    written = orjson.dumps(bootstrap(plan, folder), option=orjson.OPT_INDENT_2)
    # Envoy's own administration is a socket in here.
    for name, mode in (("run", 0o700), ("logs", 0o700)):
        (folder / name).mkdir(mode=mode, parents=True, exist_ok=True)
    shutil.rmtree(folder / "lua", ignore_errors=True)
    for package in ("paidonce.gateway", __package__):
        with as_file(files(package) / "lua") as lua:
            shutil.copytree(lua, folder / "lua", dirs_exist_ok=True)
    (folder / "config.json").write_bytes(orjson.dumps(config(plan, lambda planned: planned.service.claim_headers)))
    (folder / "envoy.json").write_bytes(written)


def bootstrap(plan: Plan, folder: Path) -> Config:
    """Return what Envoy reads when it starts; every path in it lies in `folder`."""
    listening = plan.route_file.gateway
    admin = {"pipe": {"path": str(folder / "run/admin.sock"), "mode": 0o600}}
    gateway = {
        "name": "gateway",
        "address": listen_address(listening.listen),
        "filter_chains": [_tls(plan) | {"filters": [_http(plan, folder)]}],
    }
    metrics = [_metrics(listening.metrics)] if listening.metrics else []
    to_admin = {
        "name": "admin",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "admin",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": admin["pipe"]["path"]}}}}]}],
        },
    }
    return {
        "node": {"id": "paidonce-gateway", "cluster": "paidonce-gateway"},
        "admin": {"address": admin},
        "static_resources": {"listeners": [gateway, *metrics], "clusters": [*clusters(plan), to_admin]},
    }


def _http(plan: Plan, folder: Path) -> Config:
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="HTTP1",
        **_whose_address(plan),
        common_http_protocol_options={
            # Many services read X_User_Id as X-User-Id.
            "headers_with_underscores_action": "DROP_HEADER",
            "max_headers_count": LINES_MAX,
            "idle_timeout": KEPT_S,
        },
        # The exact cap is in Lua, and is the API's; this one has to be larger, so that it is Lua that says no.
        max_request_headers_kb=max(1, 2 * plan.settings.api_head_bytes_max // 1_024),
        request_headers_timeout=HEAD_S,
        request_timeout=REQUEST_S,
        normalize_path=False,
        merge_slashes=False,
        generate_request_id=False,
        preserve_external_request_id=True,
        server_header_transformation="PASS_THROUGH",
        early_header_mutation_extensions=[named("paidonce.begin", _begin(plan))],
        local_reply_config=local_replies(),
        access_log=[named("envoy.access_loggers.file", _log(folder))],
        route_config=route_config(plan),
        http_filters=filters(plan, folder),
    )
    return named("envoy.filters.network.http_connection_manager", manager)


def _begin(plan: Plan) -> Config:
    """Return what happens to a request's head before anything reads it: nobody outside names callers or routes."""
    from_outside: list[Config] = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in (PREFIX, "x-envoy-")
    ]
    from_outside += [{"remove": name.lower()} for name in plan.identity_headers]
    # Bytes of the header lines, and how many names there are: before anything is taken away.
    head = header(HEAD, "%DOWNSTREAM_HEADER_BYTES_RECEIVED% %CEL(size(request.headers))%")
    mutations = [{"append": head}, *from_outside, {"append": header(FRESH_ID, "%UNIQUE_ID%")}]
    return typed("http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=mutations)


def _whose_address(plan: Plan) -> Config:
    trusted = plan.route_file.gateway.trusted_proxies
    if not trusted:
        return {"use_remote_address": True, "skip_xff_append": True}
    networks = [
        {"address_prefix": place, "prefix_len": int(length or (128 if ":" in place else 32))}
        for place, _, length in (one.partition("/") for one in trusted)
    ]
    xff = typed(
        "http.original_ip_detection.xff.v3.XffConfig", xff_trusted_cidrs={"cidrs": networks}, skip_xff_append=True
    )
    return {"original_ip_detection_extensions": [named("envoy.http.original_ip_detection.xff", xff)]}


def _tls(plan: Plan) -> Config:
    listening = plan.route_file.gateway
    if listening.tls_certificate is None:
        return {}
    context = typed(
        "transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_certificates": [
                {"certificate_chain": file(listening.tls_certificate), "private_key": file(listening.tls_key)}
            ],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["http/1.1"],
        },
    )
    return {"transport_socket": named("envoy.transport_sockets.tls", context)}


def _log(folder: Path) -> Config:
    """Return what is logged: neither the path, which may hold a customer's id, nor query, token or who called."""
    line = {
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "service": f"%DYNAMIC_METADATA({NOTE}:service)%",
        "method": "%REQ(:METHOD)%",
        "status": "%RESPONSE_CODE%",
        "reason": f"%DYNAMIC_METADATA({NOTE}:reason)%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "milliseconds": "%DURATION%",
    }
    return typed(
        "access_loggers.file.v3.FileAccessLog", path=str(folder / "logs/access.log"), log_format={"json_format": line}
    )


def _metrics(address: str) -> Config:
    """Return the listener of /metrics, which is all of Envoy's administration that can be reached from outside."""
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    route = {
        "match": {"path": "/metrics", "headers": [get]},
        "route": {
            "cluster": "admin",
            "regex_rewrite": {"pattern": {"regex": ".*"}, "substitution": "/stats/prometheus"},
        },
    }
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="metrics",
        route_config={"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route]}]},
        http_filters=[named("envoy.filters.http.router", typed("filters.http.router.v3.Router"))],
    )
    return {
        "name": "metrics",
        "address": listen_address(address),
        "filter_chains": [{"filters": [named("envoy.filters.network.http_connection_manager", manager)]}],
    }
