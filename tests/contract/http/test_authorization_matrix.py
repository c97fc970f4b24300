"""Who gets through to what? Every route with every kind of caller, against a table of its own."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from paidonce.app.auth.policy import RULES, SCOPES
from paidonce.app.settings import Settings

P, ONE, C = "/v1/payments", "/v1/payments/{payment_id}", "/v1/customers/{customer_id}"
R, E, K = f"{ONE}/refunds", "/v1/webhook-endpoint", "/v1/carts/{cart_id}"
PAYMENT = {"amount": 300_000, "currency": "EUR", "payment_method": "pm_ok"}
CART = {"currency": "EUR", "items": [{"name": "A book", "unit_amount": 950, "quantity": 2}]}
ENDPOINT = {"url": "https://shop.example/hooks", "secret": "whsec_" + "A" * 44}
ROLES = ("admin", "operator", "support", "Admin", "*")


@dataclass(frozen=True)
class Asked:
    path: str
    options: dict[str, Any]


class Ground:
    """What acme owns, made anew for each request that may change it."""

    def __init__(self, client: httpx.Client, rows: psycopg.Connection, bearer: dict[str, str]) -> None:
        self._client, self._rows, self._bearer = client, rows, bearer

    def payment(self, status: str = "pending") -> str:
        """Return the path of a payment of acme's."""
        created = self._client.post(P, json=PAYMENT, headers=self._bearer | {"Idempotency-Key": uuid4().hex})
        assert created.status_code == 201, created.text
        values = [status, created.json()["id"]]
        self._rows.execute("UPDATE payments SET status = %s, provider_charge_id = 'ch_1' WHERE id = %s", values)
        return f"{P}/{created.json()['id']}"

    def refund(self) -> str:
        path = f"{self.payment('captured')}/refunds"
        created = self._client.post(path, json={"amount": 1}, headers=self._bearer | {"Idempotency-Key": uuid4().hex})
        assert created.status_code == 201, created.text
        return f"{path}/{created.json()['id']}"

    def customer(self) -> str:
        path = f"/v1/customers/c-{uuid4().hex[:8]}"
        assert self._client.put(path, json={"name": "Ada"}, headers=self._bearer).status_code == 201
        return path

    def cart(self) -> str:
        path = f"/v1/carts/{uuid4().hex}"
        assert self._client.put(path, json=CART, headers=self._bearer).status_code == 201
        return path

    def checkout(self) -> Asked:
        path = self.cart()
        version = self._client.get(path, headers=self._bearer).headers["ETag"]
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": version}
        return Asked(f"{path}/checkout", {"json": {"payment_method": "pm_ok"}, "headers": headers})

    def endpoint(self) -> str:
        assert self._client.put(E, json=ENDPOINT, headers=self._bearer).is_success
        return E


def keyed(path: str, body: Any = None) -> Asked:
    options: dict[str, Any] = {"headers": {"Idempotency-Key": uuid4().hex}}
    return Asked(path, options if body is None else options | {"json": body})


def patched(path: str, body: Any) -> Asked:
    return Asked(path, {"json": body, "headers": {"If-Match": "*"}})


@dataclass(frozen=True)
class Row:
    """A route, what its caller needs, how it is asked, and what the other tenant gets for the same request."""

    method: str
    template: str
    scope: str | None
    role: str | None
    ask: Callable[[Ground], Asked]
    #: 404: acme's does not exist for it; another success: it has got its own
    other_tenant: int

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


MATRIX = [
    Row("POST", P, "payments:write", None, lambda g: keyed(P, PAYMENT), 201),
    Row("GET", P, "payments:read", None, lambda g: Asked(P, {}), 200),
    Row("GET", ONE, "payments:read", None, lambda g: Asked(g.payment(), {}), 404),
    Row("GET", f"{ONE}/trail", "payments:read", "operator", lambda g: Asked(f"{g.payment()}/trail", {}), 404),
    Row("PATCH", ONE, "payments:write", None, lambda g: patched(g.payment(), {"description": "x"}), 404),
    Row("POST", f"{ONE}/cancel", "payments:write", None, lambda g: keyed(f"{g.payment()}/cancel"), 404),
    Row("POST", R, "payments:refund", None, lambda g: keyed(f"{g.payment('captured')}/refunds", {"amount": 5}), 404),
    Row("GET", R, "payments:read", None, lambda g: Asked(g.refund().rpartition("/")[0], {}), 404),
    Row("GET", f"{R}/{{refund_id}}", "payments:read", None, lambda g: Asked(g.refund(), {}), 404),
    Row("PUT", K, "payments:write", None, lambda g: Asked(g.cart(), {"json": CART}), 201),
    Row("GET", K, "payments:write", None, lambda g: Asked(g.cart(), {}), 404),
    Row("DELETE", K, "payments:write", None, lambda g: Asked(g.cart(), {}), 204),
    Row("POST", f"{K}/checkout", "payments:write", None, lambda g: g.checkout(), 404),
    Row("PUT", C, "customers:write", None, lambda g: Asked(g.customer(), {"json": {"name": "Eve"}}), 201),
    Row("GET", C, "customers:read", None, lambda g: Asked(g.customer(), {}), 404),
    Row("PATCH", C, "customers:write", None, lambda g: patched(g.customer(), {"name": "Eve"}), 404),
    Row("DELETE", C, "customers:write", None, lambda g: Asked(g.customer(), {}), 204),
    Row("PUT", E, "webhooks:write", "admin", lambda g: Asked(E, {"json": ENDPOINT}), 201),
    Row("GET", E, "webhooks:write", None, lambda g: Asked(g.endpoint(), {}), 404),
    Row("DELETE", E, "webhooks:write", "admin", lambda g: Asked(g.endpoint(), {}), 204),
    Row("GET", "/v1/me", None, None, lambda g: Asked("/v1/me", {}), 200),
]


@pytest.fixture(scope="module")
def api(guarded: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded, trust_env=False, timeout=10) as opened:
        yield opened


@pytest.fixture
def bearer(parties: Any) -> Callable[..., dict[str, str]]:
    """Give the Authorization line of a token: all scopes, the roles admin and operator, and the claims named."""

    def line(**claims: Any) -> dict[str, str]:
        given = {"scope": " ".join(sorted(SCOPES)), "roles": ["admin", "operator"]} | claims
        return {"Authorization": "Bearer " + parties.issuer.with_claims(**given).decode()}

    return line


@pytest.fixture
def ground(api: httpx.Client, rows: psycopg.Connection, bearer: Callable[..., dict[str, str]]) -> Ground:
    return Ground(api, rows, bearer())


Send = Callable[..., httpx.Response]


@pytest.fixture
def send(api: httpx.Client) -> Send:
    def sent(row: Row, asked: Asked, line: dict[str, str]) -> httpx.Response:
        options = asked.options | {"headers": asked.options.get("headers", {}) | line}
        return api.request(row.method, asked.path, **options)

    return sent


def challenge(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["www-authenticate"]


def test_the_matrix_has_every_route_that_needs_a_token() -> None:
    assert [(row.method, row.template) for row in MATRIX] == list(RULES)


@pytest.mark.parametrize("row", MATRIX, ids=str)
def test_who_is_nobody(row: Row, ground: Ground, send: Send, bearer: Any, state: Any) -> None:
    asked, before = row.ask(ground), state()
    assert challenge(send(row, asked, {})) == (401, "Bearer")
    nobodies: list[dict[str, Any]] = [
        {"exp": int(time.time()) - 3_600},
        {"aud": "another-api"},
        {"iss": "https://other.example"},
        {"tenant": ...},
        {"tenant": ""},
        {"tenant": "initech"},
        {"tenant": "default"},
    ]
    for claims in nobodies:
        assert challenge(send(row, asked, bearer(**claims))) == (401, 'Bearer error="invalid_token"'), claims
    after = state()
    assert after == before


@pytest.mark.parametrize("row", MATRIX, ids=str)
def test_the_scope(row: Row, ground: Ground, send: Send, bearer: Any, state: Any) -> None:
    refused = f'Bearer error="insufficient_scope", scope="{row.scope}"'
    asked, before = row.ask(ground), state()
    if row.scope is not None:
        others = sorted(SCOPES - {row.scope})
        for scope in ("", *others, " ".join(others), row.scope.upper(), row.scope + "r", row.scope + ",", "*"):
            assert challenge(send(row, asked, bearer(scope=scope))) == (403, refused), scope
    assert state() == before
    for scope in (row.scope or "", " ".join(sorted(SCOPES)), f"{row.scope} unknown"):
        answer = send(row, row.ask(ground), bearer(scope=scope))
        assert answer.is_success, answer.text


@pytest.mark.parametrize("row", MATRIX, ids=str)
def test_the_role(row: Row, ground: Ground, send: Send, bearer: Any) -> None:
    for roles in ([], *([role] for role in ROLES), ["support", "admin", "operator"]):
        answer = send(row, row.ask(ground), bearer(roles=roles))
        if row.role is None or row.role in roles:
            assert answer.is_success, (roles, answer.text)
        else:
            assert challenge(answer) == (403, 'Bearer error="insufficient_scope"'), roles
    if row.scope is not None:  # a role is no scope
        assert send(row, row.ask(ground), bearer(scope="", roles=list(ROLES))).status_code == 403


@pytest.mark.parametrize("row", MATRIX, ids=str)
def test_the_other_tenant(row: Row, ground: Ground, send: Send, bearer: Any, rows: psycopg.Connection) -> None:
    asked = row.ask(ground)
    kept = owned(rows, "acme")
    send(Row("DELETE", E, None, None, row.ask, 204), Asked(E, {}), bearer(tenant="globex"))
    answer = send(row, asked, bearer(tenant="globex"))
    assert answer.status_code == row.other_tenant, answer.text
    if "{payment_id}" in row.template:
        assert asked.path.split("/")[3] not in answer.text
    assert owned(rows, "acme") == kept


def owned(rows: psycopg.Connection, tenant: str) -> list[Any]:
    tables = ("payments", "refunds", "customers", "webhook_endpoints")
    return [
        rows.execute(
            f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {t} t WHERE tenant = %s", [tenant]
        ).fetchone()  # type: ignore[arg-type]  # our own names
        for t in tables
    ]


def test_the_attribute_is_asked_for_where_the_table_says_so() -> None:
    assert {route for route, rule in RULES.items() if rule.limit is not None} == {("POST", R)}


@pytest.mark.parametrize(
    ("claim", "amounts", "last"),
    [
        (..., [100_000], 201),
        (..., [100_001], 403),
        (..., [None], 403),
        (..., [60_000, 40_000, 1], 403),
        (..., [60_000, None], 403),
        (200_000, [200_000], 201),
        (200_000, [200_001], 403),
        (300_000, [None], 201),
        (0, [1], 403),
        (99_999, [100_000], 403),
    ],
)
def test_the_attribute(claim: Any, amounts: list[int | None], last: int, ground: Ground, api: Any, bearer: Any) -> None:
    """All refunds of a payment together stay within the claim, or the setting where there is no claim."""
    path = f"{ground.payment('captured')}/refunds"
    line = bearer(refund_limit=claim)
    for number, amount in enumerate(amounts, start=1):
        key = uuid4().hex
        body = {} if amount is None else {"amount": amount}
        answer = api.post(path, json=body, headers=line | {"Idempotency-Key": key})
        assert answer.status_code == (last if number == len(amounts) else 201), answer.text
    listed = api.get(path, headers=line).json()["data"]
    assert len(listed) == len(amounts) - (last == 403)
    if last == 403:
        assert challenge(answer) == (403, 'Bearer error="insufficient_scope"')
        assert answer.json()["code"] == "refund-limit-exceeded"
        # The key is still free, for a caller who may.
        again = api.post(path, json=body, headers=bearer(refund_limit=300_000) | {"Idempotency-Key": key})
        assert again.status_code == 201, again.text


@pytest.mark.parametrize("claim", [None, "300000", True, 3e5, -1, 2**53 + 1, [300_000], {"EUR": 300_000}])
def test_an_attribute_that_is_no_amount_makes_no_token(claim: Any, api: httpx.Client, bearer: Any) -> None:
    answer = api.get("/v1/me", headers=bearer(refund_limit=claim))
    assert challenge(answer) == (401, 'Bearer error="invalid_token"')


def test_the_setting_is_the_one_that_the_rows_above_assume(guarded_settings: Settings) -> None:
    assert guarded_settings.refund_limit_minor == 100_000
