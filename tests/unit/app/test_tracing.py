"""Is each step a span in the trace of what it is done for, alone, beside others, and in a batch?"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import orjson
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import StatusCode

import paidonce.app
from paidonce.app import log, steps, telemetry, trace_context
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.app.tracing import OfLinked, Spans, Steady

A, B, UNSEEN = (f"00-{name * 32}-{name * 16}-{flags}" for name, flags in (("a", "01"), ("b", "01"), ("c", "00")))

ROOT = Path(__file__).parents[3]
Made = Callable[[], list[ReadableSpan]]


# By names that there are: the atlas takes every name for a step of the product.
@steps.step("consumer.commit")
def outer(work: Callable[[], object] = lambda: None) -> str:
    work()
    return trace_context.current()


@steps.step("consumer.handle")
def inner(work: Callable[[], object] = lambda: None) -> str:
    work()
    return trace_context.current()


@steps.step("api.request")
async def passed_async(meet: asyncio.Barrier) -> str:
    await meet.wait()
    return inner()


def listening(monkeypatch: pytest.MonkeyPatch, ratio: float) -> Made:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(OfLinked(ratio)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(steps, "_listeners", (Spans(provider.get_tracer("test")),))
    return lambda: list(exporter.get_finished_spans())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return listening(monkeypatch, 1)


def of(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def parent(span: ReadableSpan) -> str | None:
    return span.parent and f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01"


def links(span: ReadableSpan) -> set[str]:
    return {f"00-{one.context.trace_id:032x}-{one.context.span_id:016x}-01" for one in span.links}


def test_steps_are_spans_below_each_other_and_below_who_asked(made: Made) -> None:
    said = []
    with trace_context.within(A):
        handed_on = outer(lambda: said.append(inner()))
        assert trace_context.current() == A
    [below, above] = made()
    assert (below.name, parent(below), of(below)) == ("consumer.handle", of(above), said[0])
    assert (above.name, parent(above), of(above)) == ("consumer.commit", A, handed_on)
    assert trace_context.current() == ""


def test_a_step_that_nobody_asked_for_begins_a_trace(made: Made) -> None:
    first, second = outer(), outer()
    assert [parent(span) for span in made()] == [None, None]
    assert first[:35] != second[:35]


async def test_two_at_once_do_not_mix(made: Made) -> None:
    meet = asyncio.Barrier(2)

    async def request(traceparent: str) -> str:
        with trace_context.within(traceparent):
            return await passed_async(meet)

    assert [one[:35] for one in await asyncio.gather(request(A), request(B))] == [A[:35], B[:35]]
    assert {of(span)[:35] for span in made()} == {A[:35], B[:35]}
    assert {parent(span) for span in made() if span.name == "api.request"} == {A, B}


def test_what_a_batch_passes_is_a_span_of_the_batch_and_one_in_each_trace(made: Made) -> None:
    handed_on: dict[str, str] = {}

    def handle() -> None:
        assert trace_context.current() == "", "nobody can say whose it is"
        for message in (A, B, UNSEEN, ""):
            with trace_context.within(message):
                handed_on[message] = trace_context.current()

    with trace_context.within_all(lambda: [A, B, UNSEEN, None]):
        outer(lambda: inner(handle))
    spans = {(span.name, of(span)[:35]): span for span in made()}
    [whole_trace] = {trace for _, trace in spans} - {A[:35], B[:35]}
    assert set(spans) == {
        (name, trace) for name in ("consumer.commit", "consumer.handle") for trace in (A[:35], B[:35], whole_trace)
    }
    whole, part = spans["consumer.commit", whole_trace], spans["consumer.handle", whole_trace]
    assert (parent(whole), links(whole), parent(part)) == (None, {A, B}, of(whole))
    for message in (A, B):
        above, below = spans["consumer.commit", message[:35]], spans["consumer.handle", message[:35]]
        assert (parent(above), links(above)) == (message, {of(whole)})
        assert (parent(below), links(below)) == (of(above), {of(part)})
        assert handed_on[message] == of(below)
    assert handed_on[UNSEEN] == UNSEEN
    assert handed_on[""] == of(part)


def test_a_batch_of_one_is_no_batch(made: Made) -> None:
    with trace_context.within_all(lambda: [A]):
        handed_on = outer()
    [span] = made()
    assert (parent(span), of(span)) == (A, handed_on)


def test_one_of_a_batch_that_is_handled_alone_is_linked_with_the_batch(made: Made) -> None:
    def apart() -> None:
        with trace_context.within_all(lambda: [A]):
            inner()

    with trace_context.within_all(lambda: [A, B]):
        outer(apart)
    [alone] = [span for span in made() if span.name == "consumer.handle"]
    [copy] = [span for span in made() if span.name == "consumer.commit" and parent(span) == A]
    [whole] = [span for span in made() if span.name == "consumer.commit" and span.parent is None]
    assert (parent(alone), links(alone)) == (of(copy), {of(whole)})


@pytest.mark.parametrize("members", [[UNSEEN], [UNSEEN, None], [None], []])
def test_what_is_not_sampled_makes_no_span_and_is_handed_on(monkeypatch: pytest.MonkeyPatch, members: list) -> None:
    made = listening(monkeypatch, 0)
    with trace_context.within_all(lambda: members):
        outer(inner)
        with trace_context.within(UNSEEN):
            handed_on = outer()
    assert made() == []
    assert (handed_on[:35], handed_on[-3:]) == (UNSEEN[:35], "-00")


def test_a_batch_is_sampled_as_its_members_are(monkeypatch: pytest.MonkeyPatch) -> None:
    made = listening(monkeypatch, 0)
    with trace_context.within_all(lambda: [A, None]):
        outer()
    assert len(made()) == 2


def test_an_error_is_told_without_its_words(made: Made) -> None:
    def fail() -> None:
        raise ValueError("pm_secret")

    with suppress(ValueError):
        outer(fail)
    [span] = made()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert "pm_secret" not in span.to_json()
    assert trace_context.current() == ""


def test_a_header_that_is_none_is_not_handed_on(made: Made) -> None:
    for broken in ("00-1", "\0", A[:-1], A + "0", A.upper(), f"00-{'0' * 32}-{'b' * 16}-01"):
        with trace_context.within(broken):
            assert trace_context.current() == ""
            outer()
    assert {span.parent for span in made()} == {None}


def test_a_line_in_the_log_names_its_span(made: Made) -> None:
    said = BytesIO()
    configured = structlog.get_config()
    log.configure("test", to=said)  # type: ignore[arg-type]
    try:
        with trace_context.within(A):
            structlog.get_logger().info("unspanned")
            outer(lambda: structlog.get_logger().info("spanned"))
        structlog.get_logger().info("outside")
    finally:
        structlog.configure(**configured)
    unspanned, spanned, outside = (orjson.loads(line) for line in said.getvalue().splitlines())
    [span] = made()
    assert (unspanned["trace_id"], unspanned.get("span_id")) == ("a" * 32, None)
    assert (spanned["trace_id"], spanned["span_id"]) == ("a" * 32, f"{span.context.span_id:016x}")
    assert "trace_id" not in outside


class Collector(SpanExporter):
    def __init__(self, *results: SpanExportResult) -> None:
        self.results = list(results)

    def export(self, spans: object) -> SpanExportResult:
        return self.results.pop(0)


@pytest.fixture
def logged() -> Iterator[list]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_a_collector_that_is_away_is_told_once_and_once_that_it_is_back(logged: list) -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    steady = Steady(Collector(good, bad, bad, good, bad))
    for _ in range(5):
        steady.export([])
    assert [line["event"] for line in logged] == ["spans_dropped", "spans_sent_again", "spans_dropped"]


def test_after_the_patience_of_an_exit_nothing_is_tried() -> None:
    steady = Steady(Collector())
    steady.last_at = 0.0
    assert steady.export([]) is SpanExportResult.FAILURE


EXIT = """
from paidonce.app import steps, telemetry
from paidonce.app.settings import Settings
telemetry.trace("test", Settings(otlp_endpoint={endpoint!r}))
step = steps.step("test.step")(lambda: None)
for _ in range(2000):
    step()
"""


@pytest.mark.slow
def test_a_collector_that_never_answers_holds_no_exit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code = EXIT.format(endpoint=endpoint)
        ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_without_an_endpoint_nothing_that_makes_spans_is_imported() -> None:
    code = """
import sys
from paidonce.app import main, steps, telemetry
from paidonce.app.settings import Settings
from paidonce.workers import cleaner, consumer, effects, relay
telemetry.trace("test", Settings(otlp_endpoint=""))
assert not [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
assert steps._listeners == ()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_process_that_measures_its_steps_makes_spans_of_them() -> None:
    files = [file for folder in ("app", "workers", "console") for file in (ROOT / folder).rglob("*.py")]
    starting = [file for file in files if "telemetry.start(" in file.read_text()]
    assert {str(file.relative_to(ROOT)) for file in starting} >= {"app/main.py", "console/main.py", "workers/runner.py"}
    assert [file for file in starting if "telemetry.trace(" not in file.read_text()] == []


def test_an_endpoint_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(paidonce.app, "tracing")
    monkeypatch.delitem(sys.modules, "paidonce.app.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'paidonce\[tracing\]'"):
        telemetry.trace("api", Settings(otlp_endpoint="http://127.0.0.1:4318"))


def test_an_endpoint_is_a_url() -> None:
    assert Settings(otlp_endpoint="http://collector:4318/").otlp_endpoint == "http://collector:4318"
    with pytest.raises(ValueError, match="is no URL"):
        Settings(otlp_endpoint="collector:4318")
