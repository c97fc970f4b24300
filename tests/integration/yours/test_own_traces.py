"""One trace through an event of one's own, its handler and its effect, in company; and every step of it a span."""

from collections import Counter
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Connection

from paidonce import Done, Message, effects, outbox
from paidonce.app import db, steps, trace_context
from paidonce.app.clock import SystemClock
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outcomes import Outcome
from paidonce.app.tracing import Spans
from paidonce.workers.effect_lane import Lane

A, B = (f"00-{name * 32}-{name * 16}-01" for name in "ab")
#: In each one's trace, below whom: by name, and who asked is above all.
CHAIN = {
    "relay.send": "the caller",
    "relay.add_number": "the caller",
    "relay.commit": "the caller",
    "consumer.commit": "the caller",
    "consumer.handle": "consumer.commit",
    "consumer.commit_offsets": "the caller",
    "effects.call": "consumer.handle",
    "effects.settle": "consumer.handle",
}


class Passes:
    """Counts the passes of each step, as another listener sees them."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def before(self, step: str) -> None:
        self.counted[step] += 1

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        """Nothing."""


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch, passes: Passes) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(steps, "_listeners", (Spans(provider.get_tracer("test")), passes))
    return exporter


def of(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def chain(made: dict[str, ReadableSpan], caller: str) -> dict[str, str]:
    """Name -> name of the span above it, of the spans in one trace."""
    said: dict[str, str] = {}
    for span in made.values():
        if of(span)[3:35] == caller[3:35]:
            above = f"{span.parent.span_id:016x}"
            assert span.name not in said, f"{span.name} twice"
            said[span.name] = "the caller" if above == caller[36:52] else made[above].name
    return said


async def test_each_has_one_trace_and_every_step_is_a_span(shop, spans, passes) -> None:
    def handle(tx: Connection, message: Message) -> Outcome:
        effects.enqueue(tx, "receipt", message.message_id, {})
        outbox.append(tx, "other-thing.made", message.key, {})
        return Done()

    @effects.executor("receipt", call_s=1.0)
    async def send(effect: effects.Effect) -> effects.Answer:
        return effects.Succeeded({})

    placed = f"{shop.about}.placed"
    shop.member(each("traced", {placed: handle}, aggregatetype=shop.about))
    with shop.bind.begin() as tx:
        for sequence, traceparent in enumerate((A, B), 1):
            with trace_context.within(traceparent):
                outbox.append(tx, placed, "o-1", {}, sequence=sequence)
    shop.until(lambda: len(shop.rows("SELECT FROM effects")) == 2)
    bind_async = db.async_engine(shop.settings, size=2)
    lane = Lane(send, breaker=None, bind=bind_async, settings=shop.settings, clock=SystemClock())
    assert await lane.run_once() == 2
    await bind_async.dispose()

    made = {f"{span.context.span_id:016x}": span for span in spans.get_finished_spans()}
    below = {A: chain(made, A), B: chain(made, B)}
    assert below == {A: CHAIN, B: CHAIN}

    copies = [span for span in made.values() if is_copy(span, made)]
    assert {span.name for span in copies} >= {"relay.commit", "consumer.commit", "consumer.handle"}
    assert Counter(span.name for span in made.values()) - Counter(span.name for span in copies) == passes.counted
    # What the handlers wrote goes on from their spans.
    handed_on = shop.column("SELECT headers->>'traceparent' FROM outbox WHERE aggregatetype = 'other-thing'")
    assert {made[one[36:52]].name for one in handed_on} == {"consumer.handle"}
    assert {one[3:35] for one in handed_on} == {A[3:35], B[3:35]}


def is_copy(span: ReadableSpan, made: dict[str, ReadableSpan]) -> bool:
    """Whether it is a member's span of a step that a batch passed: it is linked with the batch's own."""
    linked = [made.get(f"{link.context.span_id:016x}") for link in span.links]
    return any(other is not None and other.name == span.name for other in linked)
