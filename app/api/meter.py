"""What does the API measure of its requests? How many, how they ended, how long they took (docs/operations.md)."""

from prometheus_client import Counter, Histogram

#: A caller chooses the method, and each label value is a series: others are one.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Counter(
    "paidonce_http_requests_total",
    "Requests by the route's template (`none`: no route) and status (`none`: the caller left before an answer).",
    ["method", "route", "status"],
)
SECONDS = Histogram(
    "paidonce_http_request_duration_seconds",
    "From a request's head to its whole answer.",
    ["method", "route"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


def answered(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request that ended; `status` 0: nothing was sent."""
    method = method if method in METHODS else "other"
    REQUESTS.labels(method, route or "none", str(status or "none")).inc()
    SECONDS.labels(method, route or "none").observe(seconds)
