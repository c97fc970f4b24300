"""Whom does Envoy talk to? The services, with their certificates and their breaker, and the issuers' key servers."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from paidonce.app.auth.jwks import checked_url
from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings
from paidonce.gateway.envoy.terms import Config, address, file, is_address, named, seconds, typed
from paidonce.gateway.plan import Plan, PlannedService
from paidonce.gateway.route_file import UpstreamTls

CONNECT_S = 2.0
#: Seconds that an idle connection to a service is kept: less than the service keeps it (75 s), or a request meets its
#: end.
KEPT_S = 60.0
#: Seconds between two looks whether a service that was left alone may be asked again.
LOOK_S = 0.2
#: Requests to a service at once, and connections to it; Envoy's own bound of 3 retries at once is for small sites.
AT_ONCE_MAX = 4_096


def service_name(planned: PlannedService) -> str:
    """Return the name of a service's cluster."""
    return f"service_{planned.service.name}"


def keys_name(number: int) -> str:
    """Return the name of the cluster of an issuer's key server."""
    return f"keys_{number}"


def keys_url(issuer: TrustedIssuer) -> str:
    """Return where an issuer's keys are.

    Raises:
        ConfigurationError: it is not said, or they could not be fetched safely.
    """
    if issuer.jwks_url is None:
        raise ConfigurationError(f"Envoy does no OpenID discovery: name the jwks_url of the issuer {issuer.issuer}")
    checked_url(issuer.jwks_url)
    return issuer.jwks_url


def clusters(plan: Plan) -> list[Config]:
    """Return all of them."""
    keys = [_keys(plan, number, issuer) for number, issuer in enumerate(plan.issuers)]
    return [*(_service(planned, plan.settings) for planned in plan.services), *keys]


def _service(planned: PlannedService, settings: Settings) -> Config:
    places = [urlsplit(url) for url in planned.service.upstreams]
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), AT_ONCE_MAX)
    tls = planned.service.upstream_tls
    http = typed(
        "upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {}},
        common_http_protocol_options={"idle_timeout": seconds(KEPT_S)},
        # What a service answers, a 502 too, is an answer.
        outlier_detection={"error_matcher": {"not_match": {"any_match": True}}},
    )
    return _cluster(service_name(planned), [(str(one.hostname), int(one.port or 0)) for one in places]) | {
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http},
        # Where all replicas fail, nobody is asked at random: the caller is told at once.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [limits]},
        "outlier_detection": _breaker(settings),
        **({} if tls is None else {"transport_socket": _tls(_proof(tls), tls.authority, tls.name)}),
    }


def _breaker(settings: Settings) -> Config:
    """Return when a replica is left alone: after so many requests in a row without an answer."""
    open_s = seconds(settings.breaker_open_s)
    return {
        # Envoy's word for a request without an answer. Its other one, local origin, ends with each connection made.
        "consecutive_gateway_failure": settings.breaker_failures,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "max_ejection_percent": 100,
        "base_ejection_time": open_s,
        "max_ejection_time": open_s,
        "interval": seconds(LOOK_S),
    }


def _keys(plan: Plan, number: int, issuer: TrustedIssuer) -> Config:
    url = urlsplit(keys_url(issuer))
    host, port = str(url.hostname), url.port or (443 if url.scheme == "https" else 80)
    found = _cluster(keys_name(number), [(host, port)])
    if url.scheme == "https":
        found["transport_socket"] = _tls({}, plan.route_file.gateway.authorities, host)
    return found


def _cluster(name: str, places: Sequence[tuple[str, int]]) -> Config:
    endpoints = [{"endpoint": {"address": address(host, port)}} for host, port in places]
    return {
        "name": name,
        "type": "STATIC" if all(is_address(host) for host, _ in places) else "STRICT_DNS",
        "connect_timeout": seconds(CONNECT_S),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _proof(tls: UpstreamTls) -> Config:
    """Return the certificate that the gateway shows to a service."""
    if tls.certificate is None:
        return {}
    return {"tls_certificates": [{"certificate_chain": file(tls.certificate), "private_key": file(tls.key)}]}


def _tls(proof: Config, authority: str, name: str) -> Config:
    wanted = {"san_type": "IP_ADDRESS" if is_address(name) else "DNS", "matcher": {"exact": name}}
    validation = {"trusted_ca": file(authority), "match_typed_subject_alt_names": [wanted]}
    context = typed(
        "transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context={
            **proof,
            "validation_context": validation,
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        },
        **({} if is_address(name) else {"sni": name}),
    )
    return named("envoy.transport_sockets.tls", context)
