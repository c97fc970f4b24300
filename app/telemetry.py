"""What does this process tell of its steps? Durations, in Prometheus' format on a port of their own, and spans."""

from prometheus_client import Counter, Histogram, start_http_server

from paidonce.app import steps
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings

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


def trace(process: str, settings: Settings) -> None:
    """Make a span of every step of the process named `process`, where the settings have an endpoint.

    Raises:
        ConfigurationError: they have one, and what makes spans is not installed.
    """
    if not settings.otlp_endpoint:
        return
    try:
        # An extra: whoever wants no spans need not have it, and pays nothing for it.
        from paidonce.app import tracing  # noqa: PLC0415  see above
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "PAIDONCE_OTLP_ENDPOINT is set, and the libraries that make spans are not installed: "
            "pip install 'paidonce[tracing]'"
        ) from error
    tracing.start(process, settings)
