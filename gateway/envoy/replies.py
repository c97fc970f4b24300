"""What does Envoy answer when it says no itself? The problem documents of the API, by what it says has happened."""

from paidonce.gateway import problems
from paidonce.gateway.envoy.terms import NOTE, Config, header, named

#: The first words of what Envoy's filter for tokens says when it has no keys.
NO_KEYS = "jwt_authn_access_denied{Jwks_remote_fetch"
#: Envoy's response flags -> problem: what became of a request that it sent, or could not send, to a service.
FLAGS = {
    ("UT",): "gateway-timeout",
    ("UH", "UO"): "unavailable",
    ("UF", "UC", "LR", "UR", "URX", "UPE"): "bad-gateway",
}
#: Its statuses -> problem; of the rest what the status's hundred says.
STATUSES = {
    401: "invalid-token",
    404: "not-found",
    413: "payload-too-large",
    429: "rate-limited",
    431: "head-too-large",
    503: "unavailable",
    504: "gateway-timeout",
}


def local_replies() -> Config:
    """Return the mappers; the first that fits holds."""
    return {
        "mappers": [
            # Lua has written the whole document.
            {"filter": _noted("answered"), "body_format_override": _format("%LOCAL_REPLY_BODY%")},
            _mapper(_details_begin(NO_KEYS), "key-set-unavailable"),
            *(_mapper({"response_flag_filter": {"flags": list(flags)}}, code) for flags, code in FLAGS.items()),
            *(_mapper(_status("EQ", status), code) for status, code in STATUSES.items()),
            _mapper({"and_filter": {"filters": [_status("GE", 400), _status("LE", 499)]}}, "bad-request"),
            _mapper(_status("GE", 500), "internal"),
        ]
    }


def _mapper(condition: Config, code: str) -> Config:
    problem = problems.ALL[code]
    document = problems.opening(problem).replace("%", "%%") + ',"request_id":"%REQ(X-REQUEST-ID)%"}'
    marks = {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
        "X-Request-Id": "%REQ(X-REQUEST-ID)%",
    }
    return {
        "filter": condition,
        "status_code": problem.status,
        "body_format_override": _format(document),
        "headers_to_add": [header(name, value) for name, value in (marks | problems.headers(problem)).items()],
    }


def _format(text: str) -> Config:
    return {"text_format_source": {"inline_string": text}, "content_type": "application/problem+json"}


def _status(comparison: str, status: int) -> Config:
    value = {"default_value": status, "runtime_key": "paidonce.none"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _noted(name: str) -> Config:
    matcher = {"filter": NOTE, "path": [{"key": name}], "value": {"bool_match": True}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}


def _details_begin(words: str) -> Config:
    config = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": f"response.code_details.startsWith('{words}')",
    }
    return {"extension_filter": named("envoy.access_loggers.extension_filters.cel", config)}
