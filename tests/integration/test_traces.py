"""A real trace, as a collector gets it from a whole stack: one payment, from its request to its merchant's webhook."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from paidonce.devstack.pace import new_secret
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

BOUND_S = 90.0
#: What the caller of the API has made of it: the whole trace hangs below.
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True)
class Span:
    """A span as it was sent."""

    id: str
    trace: str
    parent: str
    service: str
    name: str
    attributes: Mapping[str, str]
    links: tuple[str, ...]


@dataclass
class Outside:
    """A collector and a merchant: what they were sent."""

    url: str
    spans: list[Span] = field(default_factory=list)
    #: `traceparent` of each webhook
    webhooks: list[str] = field(default_factory=list)

    def of_the_trace(self) -> dict[str, Span]:
        return {span.id: span for span in self.spans if span.trace == CALLER[3:35]}

    def steps(self) -> set[tuple[str, str]]:
        return {(span.service, span.attributes["paidonce.step"]) for span in self.of_the_trace().values()}


def taken_apart(body: bytes) -> Iterator[Span]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(one.value.string_value for one in group.resource.attributes if one.key == "service.name")
        for span in (span for scope in group.scope_spans for span in scope.spans):
            attributes = {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}
            links = tuple(link.span_id.hex() for link in span.links)
            ids = span.span_id.hex(), span.trace_id.hex(), span.parent_span_id.hex()
            yield Span(*ids, service.removeprefix("paidonce-"), span.name, attributes, links)


@contextmanager
def listening() -> Iterator[Outside]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                outside.spans += taken_apart(body)
            else:
                outside.webhooks.append(self.headers["traceparent"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        outside = Outside(f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, daemon=True).start()
        yield outside
        server.shutdown()


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with listening() as made, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "OTEL_BSP_SCHEDULE_DELAY", "200")  # milliseconds
        with Stack(durable=False, overrides={"otlp_endpoint": made.url}) as stack:
            pay(stack, made)
        yield made


def pay(stack: Stack, outside: Outside) -> None:
    """Let one payment of a tenant with a webhook go its whole way."""
    headers = {"Authorization": f"Bearer {stack.token(roles=['admin'])}"}
    with httpx.Client(base_url=stack.addresses.api, headers=headers, timeout=30) as api:
        merchant = {"url": f"{outside.url}/merchant", "secret": new_secret(), "events": ["payment.captured"]}
        assert api.put("/v1/webhook-endpoint", json=merchant).is_success
        wanted = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}
        more = {"Idempotency-Key": "order-1", "traceparent": CALLER}
        assert api.post("/v1/payments", json=wanted, headers=more).status_code == 201
    until(lambda: bool(outside.webhooks), within_s=BOUND_S, what="the merchant's webhook")
    until(lambda: ("effects", "webhook.deliver") in outside.steps(), within_s=BOUND_S, what="its span")


def path(spans: Mapping[str, Span], span: Span) -> list[str]:
    """The names from the span up to the caller's."""
    names: list[str] = []
    while span.parent != CALLER[36:52]:
        names.append(f"{span.service}: {span.name}")
        span = spans[span.parent]
    return [*names, f"{span.service}: {span.name}"]


@pytest.mark.slow
def test_the_webhook_is_in_the_trace_of_the_request_that_paid(outside: Outside) -> None:
    spans = outside.of_the_trace()
    [webhook] = [span for span in spans.values() if span.attributes["paidonce.step"] == "webhook.deliver"]
    assert path(spans, webhook) == [
        "effects: webhook.deliver",
        "effects: effects.call",
        "consumer-notifications: consumer.handle",
        "consumer-notifications: consumer.commit",
        "effects: outbox.append",
        "effects: effects.settle",
        "consumer-charges: consumer.handle",
        "consumer-charges: consumer.commit",
        "api: POST /v1/payments",
    ]
    [received] = outside.webhooks
    assert path(spans, spans[received[36:52]])[0] == "effects: http.call", "the merchant got the call's own span"


@pytest.mark.slow
def test_every_stage_is_there_below_the_request(outside: Outside) -> None:
    spans = outside.of_the_trace()
    assert all(path(spans, span)[-1] == "api: POST /v1/payments" for span in spans.values())
    assert outside.steps() >= {
        ("api", "api.request"),
        ("api", "payments.accept"),
        ("relay", "relay.send"),
        ("relay", "relay.add_number"),
        ("relay", "relay.commit"),
        ("consumer-charges", "consumer.commit"),
        ("consumer-charges", "consumer.handle"),
        ("consumer-charges", "consumer.commit_offsets"),
        ("consumer-ledger", "consumer.handle"),
        ("consumer-notifications", "consumer.handle"),
        ("effects", "effects.call"),
        ("effects", "provider.charge"),
        ("effects", "http.call"),
        ("effects", "effects.settle"),
        ("effects", "outbox.append"),
        ("effects", "webhook.deliver"),
    }
    [request] = [span for span in spans.values() if span.service == "api" and span.parent == CALLER[36:52]]
    assert request.attributes["http.response.status_code"] == "201"


@pytest.mark.slow
def test_what_runs_for_nobody_is_a_span_too_in_a_trace_of_its_own(outside: Outside) -> None:
    """Every process sends, at its end too."""
    elsewhere = {(one.service, one.name) for one in outside.spans if one.trace != CALLER[3:35]}
    assert elsewhere >= {("relay", "relay.record"), ("effects", "effects.claim"), ("cleaner", "cleaner.purge_keys")}
    assert elsewhere >= {("relay", "relay.release"), ("consumer-ledger", "consumer.look")}
