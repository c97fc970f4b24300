"""Requests, replays, conflicts and the ages of keys, as /metrics shows them of an API under its real uvicorn."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client import REGISTRY

ROUTE = "/v1/payments"
BODY = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def keyed(outcome: str) -> float:
    return sample("paidonce_idempotent_requests_total", outcome=outcome)


@pytest.fixture
def growth() -> Callable[[Callable[[], float]], Callable[[], float]]:
    def since(read: Callable[[], float]) -> Callable[[], float]:
        before = read()
        return lambda: read() - before

    return since


def pay(client: httpx.Client, key: str, amount: int = 1250) -> int:
    return client.post(ROUTE, json=BODY | {"amount": amount}, headers={"Idempotency-Key": key}).status_code


def test_what_the_key_said_is_counted(client: httpx.Client, rows: psycopg.Connection[Any], growth: Any) -> None:
    key = uuid4().hex
    grown = {one: growth(lambda one=one: keyed(one)) for one in ("first", "replayed", "reused", "expired")}
    assert [pay(client, key), pay(client, key), pay(client, key, amount=1)] == [201, 201, 409]
    rows.execute("UPDATE idempotency SET expires_at = now() WHERE idem_key = %s", [key])
    assert pay(client, key) == 409
    assert {one: count() for one, count in grown.items()} == {"first": 1, "replayed": 1, "reused": 1, "expired": 1}


def test_how_late_a_client_retries_is_seen(client: httpx.Client, rows: psycopg.Connection[Any], growth: Any) -> None:
    key = uuid4().hex
    pay(client, key)
    rows.execute("UPDATE idempotency SET created_at = created_at - interval '5 hours' WHERE idem_key = %s", [key])
    seconds = growth(lambda: sample("paidonce_idempotency_key_age_seconds_sum"))
    pay(client, key)
    assert 5 * 3_600 <= seconds() < 5 * 3_600 + 60


def test_requests_are_counted_by_their_route_and_never_by_what_a_caller_chose(
    client: httpx.Client, growth: Any
) -> None:
    labels = {"method": "GET", "route": "/v1/payments/{payment_id}", "status": "404"}
    found = growth(lambda: sample("paidonce_http_requests_total", **labels))
    took = growth(lambda: sample("paidonce_http_request_duration_seconds_count", method="GET", route=labels["route"]))
    lost = growth(lambda: sample("paidonce_http_requests_total", method="GET", route="none", status="404"))
    client.get(f"/v1/payments/{uuid4()}")
    client.get(f"/{uuid4().hex}")
    client.request("PROPFIND", "/v1/payments")
    assert (found(), took(), lost()) == (1, 1, 1)
    series = [
        one.labels for family in REGISTRY.collect() if family.name == "paidonce_http_requests" for one in family.samples
    ]
    assert {one["method"] for one in series} <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}
