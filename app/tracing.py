"""How does a step become a span? By a listener of the steps, which sends by OTLP; only where an endpoint is set.

A step that one trace passes is a span in it, below the innermost one. A step that a batch passes is a span of the
batch's own, linked with each member's trace, and one in each of these, linked with the batch's. What is handed on
(events, effects, calls over HTTP) then names the innermost span (app/trace_context.py).
"""

import atexit
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType

import structlog
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.span import TraceFlags
from opentelemetry.util.types import Attributes

from paidonce.app import steps, trace_context
from paidonce.app.settings import Settings
from paidonce.app.trace_context import Carried, Traces

#: Spans that wait for the collector; more are dropped. A batch of 2,000 traced messages makes 6,000 in a consumer.
QUEUE_SPANS = 16_384
#: Seconds for one attempt to send a batch of spans, its repeats included.
EXPORT_S = 2.0
#: Seconds after which a stopping process begins no further attempt: it ends at most EXPORT_S later.
FLUSH_S = 2.0
#: Steps that talk to another process, by what they are in a trace; all others are INTERNAL.
KINDS: Mapping[str, SpanKind] = MappingProxyType(
    {
        "api.request": SpanKind.SERVER,
        "http.call": SpanKind.CLIENT,
        "relay.send": SpanKind.PRODUCER,
        "consumer.commit": SpanKind.CONSUMER,
        "consumer.commit_apart": SpanKind.CONSUMER,
        "consumer.work_off": SpanKind.CONSUMER,
    }
)
#: Names that are bound for the log, as attributes of a span. None of them is secret or personal.
BOUND: Mapping[str, str] = MappingProxyType(
    {
        "request_id": "paidonce.request_id",
        "kind": "paidonce.effect.kind",
        "subject": "paidonce.effect.subject",
    }
)
#: The same of a request, by OpenTelemetry's conventions for HTTP.
BOUND_BY_A_REQUEST: Mapping[str, str] = MappingProxyType(
    {
        "method": "http.request.method",
        "route": "http.route",
        "status": "http.response.status_code",
    }
)

_ODD = frozenset("13579bdf")
_log = structlog.get_logger(__name__)


def start(process: str, settings: Settings) -> None:
    """Make a span of every step of this process, and send them to the settings' endpoint, at the exit too."""
    exporter = Steady(OTLPSpanExporter(f"{settings.otlp_endpoint}/v1/traces", timeout=EXPORT_S))
    provider = TracerProvider(
        sampler=ParentBased(OfLinked(settings.otlp_ratio)),
        resource=Resource.create({"service.name": f"paidonce-{process}", "service.namespace": "paidonce"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS))
    # Global, so that spans of a handler of yours, or of a library's instrumentation, join.
    trace.set_tracer_provider(provider)

    def flush() -> None:
        exporter.last_at = monotonic() + FLUSH_S
        provider.shutdown()

    atexit.register(flush)
    steps.listen(Spans(provider.get_tracer("paidonce")))
    _log.info("tracing", ratio=settings.otlp_ratio)


class Steady(SpanExporter):
    """Sends until a process ends, says once that the collector is away, and once that it is back."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._away = False
        #: no attempt begins later, on the monotonic clock
        self.last_at = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans, or drop them."""
        if monotonic() > self.last_at:
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            _log.warning("spans_dropped", spans=len(spans), do="look for the collector at PAIDONCE_OTLP_ENDPOINT")
        elif self._away and not away:
            _log.info("spans_sent_again")
        self._away = away
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()


class OfLinked(Sampler):
    """Decides on a trace that begins here: a batch's is sent, because a member's is, any other by the ratio."""

    def __init__(self, ratio: float) -> None:
        self._by_ratio = TraceIdRatioBased(ratio)

    def should_sample(  # noqa: PLR0917  the SDK calls it so
        self,
        parent_context: context.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        """Tell whether spans of the trace are sent."""
        sampler = ALWAYS_ON if links else self._by_ratio
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Name the sampler."""
        return "OfLinked"


@dataclass(frozen=True, slots=True)
class _Pass:
    """A pass through a step that is under way."""

    #: the step's own span, and for a batch one in the trace of each member; none of what is not sampled
    spans: list[Span]
    carried_before: Carried
    #: of OpenTelemetry's own context, for spans that are not ours; None: there is none to be below
    token: Token[context.Context] | None
    above: "_Pass | None"


_under_way: ContextVar[_Pass | None] = ContextVar("under_way", default=None)


class Spans:
    """Listens to the steps and makes a span of each pass."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def before(self, step: str) -> None:
        """Begin a span, or of a batch one for each member besides; none of what nobody wants to see."""
        traces, above = trace_context.traces(), _under_way.get()
        if len(traces) > 1:
            spans, now = self._of_a_batch(step, traces)
        else:
            [(came, parent)] = traces.items() or [("", "")]
            is_wanted = not parent or _is_sampled(parent)
            spans = [self._begin(step, parent, _elsewhere(above, parent))] if is_wanted else []
            now = {came: _traceparent(spans[0])} if spans else traces
        token = context.attach(trace.set_span_in_context(spans[0])) if spans else None
        _under_way.set(_Pass(spans, trace_context.exchange(now), token, above))

    def _of_a_batch(self, step: str, traces: Traces) -> tuple[list[Span], Traces]:
        """Return the spans of a step that a batch passes, its own first, and what is carried in it."""
        seen = {came: now for came, now in traces.items() if _is_sampled(now)}
        own = seen.pop("", "")
        if not seen and not own:
            return [], traces
        whole = self._begin(step, own, [_context(now) for now in seen.values()])
        whole.set_attribute("messaging.batch.message_count", len(traces.keys() - {""}))
        parts = {came: self._begin(step, now, [whole.get_span_context()]) for came, now in seen.items()}
        now = {came: _traceparent(span) for came, span in parts.items()}
        return [whole, *parts.values()], {**traces, **now, "": _traceparent(whole)}

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:  # noqa: ARG002  a span has a clock
        """End them, with what was bound for the log meanwhile."""
        under_way = _under_way.get()
        assert under_way is not None, "before() came first"
        attributes = _attributes(step) if under_way.spans else {}
        for span in under_way.spans:
            if span.is_recording():
                _describe(span, step, attributes, error)
            span.end()
        if under_way.token is not None:
            context.detach(under_way.token)
        trace_context.exchange(under_way.carried_before)
        _under_way.set(under_way.above)

    def _begin(self, step: str, parent: str, links: Sequence[SpanContext]) -> Span:
        """Begin a span below `parent`; a trace of its own where that is empty."""
        around = context.Context()
        if parent:
            around = trace.set_span_in_context(NonRecordingSpan(_context(parent)), around)
        named = {"paidonce.step": step}
        return self._tracer.start_span(step, around, KINDS.get(step, SpanKind.INTERNAL), named, [*map(Link, links)])


def _elsewhere(above: _Pass | None, now: str) -> list[SpanContext]:
    """Return the step around, where it is in another trace: a batch of which this is one member."""
    around = above.spans[0].get_span_context() if above and above.spans else None
    return [] if around is None or not now or f"{around.trace_id:032x}" == now[3:35] else [around]


def _is_sampled(traceparent: str) -> bool:
    """Tell whether its last flag is set: its last digit is odd."""
    return traceparent[54:] in _ODD if traceparent else False


def _context(traceparent: str) -> SpanContext:
    return SpanContext(
        int(traceparent[3:35], 16),
        int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[53:55], 16)),
    )


def _traceparent(span: Span) -> str:
    of = span.get_span_context()
    return f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags & TraceFlags.SAMPLED:02x}"


def _attributes(step: str) -> dict[str, str | int]:
    names = {**BOUND, **BOUND_BY_A_REQUEST} if step == "api.request" else BOUND
    bound = structlog.contextvars.get_contextvars()
    return {attribute: bound[name] for name, attribute in names.items() if bound.get(name) is not None}


def _describe(span: Span, step: str, attributes: dict[str, str | int], error: BaseException | None) -> None:
    """Say what the pass was; of an error its class only, because its words may hold a payload."""
    span.set_attributes(attributes)
    if step == "api.request":
        span.update_name(
            " ".join(str(attributes[name]) for name in ("http.request.method", "http.route") if name in attributes)
            or step
        )
        if int(attributes.get("http.response.status_code", 0)) >= 500:
            span.set_status(Status(StatusCode.ERROR))
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
