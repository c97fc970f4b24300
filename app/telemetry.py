"""What does this process measure? Step durations, on a port of their own, in Prometheus' format."""

from prometheus_client import Counter, Histogram, start_http_server

from paidonce.app import steps

STEP_SECONDS = Histogram(
    "paidonce_step_duration_seconds",
    "Duration of each pass through a step.",
    ["step"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
STEP_FAILURES = Counter("paidonce_step_failures_total", "Passes through a step that raised.", ["step"])


class Durations:
    """Listens to the steps and keeps their durations."""

    def before(self, step: str) -> None:
        """Nothing to do before a step."""

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        """Count the pass."""
        STEP_SECONDS.labels(step).observe(seconds)
        if error is not None:
            STEP_FAILURES.labels(step).inc()


def start(host: str, port: int) -> None:
    """Measure every step, and serve /metrics at `host` and `port` (0: measure only)."""
    steps.listen(Durations())
    if port:
        start_http_server(port, addr=host)
