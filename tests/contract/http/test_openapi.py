"""Is the API's description true and complete? Walked from end to end, and held against real answers."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from paidonce.app.api.operation import Operation
from paidonce.app.api.problems import TYPE_BASE
from paidonce.app.auth import policy
from paidonce.app.main import OPERATIONS

GOOD = {"amount": 1999, "currency": "EUR", "payment_method": "pm_ok"}
CART = {"currency": "EUR", "items": [{"name": "A book", "unit_amount": 950, "quantity": 2}]}


@pytest.fixture(scope="session")
def document(api: str) -> dict[str, Any]:
    answer = httpx.get(f"{api}/openapi.json", trust_env=False)
    assert answer.status_code == 200
    return dict(answer.json())


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def shown(document: dict[str, Any], operation: Operation) -> dict[str, Any]:
    return dict(document["paths"][operation.path][operation.method.lower()])


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for answer in operation["responses"].values():
        yield from answer.get("content", {}).items()


def test_it_is_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_it_has_every_operation_and_no_other(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(operation.method, operation.path) for operation in OPERATIONS}
    ids = [item["operationId"] for path in document["paths"].values() for item in path.values()]
    assert len(set(ids)) == len(ids)


def test_every_operation_has_a_rule_or_is_public() -> None:
    for operation in OPERATIONS:
        known = (operation.method, operation.path)
        assert (known in policy.RULES) != (known in policy.PUBLIC), known
    assert set(policy.RULES) | policy.PUBLIC == {(operation.method, operation.path) for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_an_operation_is_described_whole(document: dict[str, Any], operation: Operation) -> None:
    said = shown(document, operation)
    assert said["summary"]
    assert said["description"]
    parameters = {(parameter["in"], parameter["name"]): parameter for parameter in said.get("parameters", [])}
    assert {name for place, name in parameters if place == "path"} == set(re.findall(r"{(\w+)}", operation.path))
    query = operation.query.model_fields if operation.query else {}
    assert {name for place, name in parameters if place == "query"} == set(query)
    headers = {name for place, name in parameters if place == "header"}
    if operation.method == "POST" and operation.path.startswith("/v1/"):
        assert parameters["header", "Idempotency-Key"]["required"]
    if operation.method == "PATCH":
        assert parameters["header", "If-Match"]["required"]
        assert "application/merge-patch+json" in said["requestBody"]["content"]
    assert headers == {name.rstrip("?!") for name in operation.headers}
    assert ("requestBody" in said) == (operation.body is not None)
    public = policy.is_public(operation.method, operation.path)
    assert said.get("security", []) == ([] if public else [{"bearer": []}])
    assert "500" in said["responses"]
    assert public or {"401", "503"} <= set(said["responses"])
    if operation.body is not None:
        assert {"400", "413", "415", "422"} <= set(said["responses"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_every_example_fits_its_schema(document: dict[str, Any], operation: Operation) -> None:
    said = shown(document, operation)
    for media_type, content in contents(said):
        examples = [content["example"]] if "example" in content else []
        examples += [each["value"] for each in content.get("examples", {}).values()]
        if media_type.endswith("json") and content["schema"]:
            assert examples, (operation.path, media_type)
        for example in examples:
            resolved(document, content["schema"]).validate(example)
    for status, answer in said["responses"].items():
        if int(status) >= 400:
            assert list(answer["content"]) == ["application/problem+json"]
            for code, example in answer["content"]["application/problem+json"]["examples"].items():
                assert example["value"]["code"] == code
                assert example["value"]["type"] == TYPE_BASE + code
                assert example["value"]["status"] == int(status)


def _answers(client: httpx.Client) -> Iterator[tuple[str, str, httpx.Response]]:
    """Yield method, template and a real answer of everything that a client does in a day."""
    key = {"Idempotency-Key": uuid4().hex}
    payments, customer, endpoint = "/v1/payments", "/v1/customers/described", "/v1/webhook-endpoint"
    one, refunds = f"{payments}/{{payment_id}}", f"{payments}/{{payment_id}}/refunds"
    yield "POST", payments, (created := client.post(payments, json=GOOD, headers=key))
    yield "POST", payments, client.post(payments, json=GOOD | {"amount": 1}, headers=key)
    yield "POST", payments, client.post(payments, json=GOOD)
    yield "POST", payments, client.post(payments, json=GOOD | {"amount": 1.5}, headers=key)
    yield "POST", payments, client.post(payments, content=b"{", headers=key | {"Content-Type": "application/json"})
    path = f"{payments}/{created.json()['id']}"
    yield "GET", payments, client.get(payments, params={"limit": 2})
    yield "GET", payments, client.get(payments, params={"limit": 0})
    yield "GET", one, client.get(path)
    yield "GET", one, client.get(path, headers={"If-None-Match": "*"})
    yield "GET", one, client.get(f"{payments}/{uuid4()}")
    yield "GET", f"{one}/trail", client.get(f"{path}/trail")
    yield "GET", f"{one}/trail", client.get(f"{payments}/{uuid4()}/trail")
    yield "PATCH", one, client.patch(path, json={"description": "x"}, headers={"If-Match": "*"})
    yield "PATCH", one, client.patch(path, json={"description": "x"})
    yield "PATCH", one, client.patch(path, json={"description": "x"}, headers={"If-Match": '"0"'})
    yield "POST", refunds, client.post(f"{path}/refunds", headers=key)
    yield "GET", refunds, client.get(f"{path}/refunds")
    yield "POST", f"{one}/cancel", client.post(f"{path}/cancel", headers=key)
    yield "POST", f"{one}/cancel", client.post(f"{path}/cancel", headers={"Idempotency-Key": uuid4().hex})
    yield "PUT", "/v1/customers/{customer_id}", client.put(customer, json={"name": "Ada"})
    yield "GET", "/v1/customers/{customer_id}", client.get(customer)
    yield "DELETE", "/v1/customers/{customer_id}", client.delete(customer)
    yield "GET", "/v1/customers/{customer_id}", client.get(customer)
    cart = f"/v1/carts/{uuid4()}"
    paid = {"If-Match": '"other"', "Idempotency-Key": uuid4().hex}
    yield "GET", "/v1/carts/{cart_id}", client.get(cart)
    yield "PUT", "/v1/carts/{cart_id}", (put := client.put(cart, json=CART))
    yield "PUT", "/v1/carts/{cart_id}", client.put(cart, json=CART)
    yield "PUT", "/v1/carts/{cart_id}", client.put(cart, json=CART | {"items": []})
    yield "GET", "/v1/carts/{cart_id}", client.get(cart)
    for headers in (key, paid, paid | {"If-Match": "*"}, paid | {"If-Match": put.headers["etag"]}):
        answer = client.post(f"{cart}/checkout", json={"payment_method": "pm_ok"}, headers=headers)
        yield "POST", "/v1/carts/{cart_id}/checkout", answer
    seen = {"Idempotency-Key": uuid4().hex, "If-Match": client.get(cart).headers["etag"]}
    yield (
        "POST",
        "/v1/carts/{cart_id}/checkout",
        client.post(f"{cart}/checkout", json={"payment_method": "pm_ok"}, headers=seen),
    )
    yield "DELETE", "/v1/carts/{cart_id}", client.delete(cart)
    body = {"url": "https://shop.example/", "secret": "whsec_" + "A" * 44}
    yield "PUT", endpoint, client.put(endpoint, json=body)
    yield "GET", endpoint, client.get(endpoint)
    yield "DELETE", endpoint, client.delete(endpoint)
    yield "POST", "/webhooks/provider", client.post("/webhooks/provider", json={})
    yield "GET", "/v1/me", client.get("/v1/me")
    yield "GET", "/v1/me", client.get("/v1/me", headers={"Authorization": "Bearer x.y.z"})
    yield "GET", "/readyz", client.get("/readyz")


def test_real_answers_are_as_described(document: dict[str, Any], client: httpx.Client) -> None:
    for method, template, answer in _answers(client):
        said = document["paths"][template][method.lower()]["responses"]
        where = f"{method} {template}: {answer.status_code} {answer.text}"
        assert str(answer.status_code) in said, where
        described = said[str(answer.status_code)]
        if answer.status_code in (204, 304):
            assert answer.content == b"", where
            continue
        content = described["content"][answer.headers["content-type"]]
        resolved(document, content["schema"]).validate(answer.json())
        if answer.status_code >= 400:
            assert answer.json()["code"] in content["examples"], where
        else:
            assert set(answer.json()) == set(content["example"]), where


def test_the_page_loads_nothing_from_elsewhere(api: str) -> None:
    with httpx.Client(base_url=api, trust_env=False) as anyone:
        page = anyone.get("/docs")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "//" not in page.text
        parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(parts) == 4
        for part in parts:
            answer = anyone.get(part)
            assert answer.status_code == 200
            assert answer.content
            again = anyone.get(part, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 428, 429, 431, 500, 503])
def test_a_problem_of_each_status_exists(document: dict[str, Any], status: int, api: str) -> None:
    described = {int(code) for item in document["paths"].values() for op in item.values() for code in op["responses"]}
    outside: dict[int, Callable[[], httpx.Response]] = {
        405: lambda: httpx.delete(f"{api}/healthz", trust_env=False),
        431: lambda: httpx.get(f"{api}/healthz", headers={"x": "y" * 17_000}, trust_env=False),
    }
    assert status in described or outside[status]().status_code == status
