"""Do all replicas together keep one count, and does a Valkey that is away stall nobody?"""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from prometheus_client import REGISTRY

from paidonce.app.main import config
from paidonce.app.settings import Settings
from paidonce.devstack.runs import Run
from paidonce.devstack.valkey import Valkey, start_valkey

#: Few failures and a short pause, so that a test sees the breaker open and close.
QUICK = {"valkey_call_s": 0.2, "breaker_failures": 2, "breaker_open_s": 0.5}
QUOTA = re.compile(r'^"subject";r=(\d+);t=(\d+), "tenant";r=(\d+);t=(\d+)$')
Start = Callable[..., str]
Ask = Callable[..., httpx.Response]


@pytest.fixture
def start(
    serving: Callable[[uvicorn.Config], AbstractContextManager[str]], api_settings: Settings, valkey: Valkey
) -> Iterator[Start]:
    """Start one more replica, with settings changed, and return its URL. A day's window has no border in a test."""
    with ExitStack() as started:
        yield lambda **changes: started.enter_context(serving(config(api_settings.model_copy(update=changes))))


@pytest.fixture
def ask(token: Callable[..., str]) -> Iterator[Ask]:
    """Ask for the list of payments as a subject of a tenant."""
    with httpx.Client(trust_env=False, timeout=20) as client:
        tokens: dict[tuple[str, str], str] = {}

        def asked(url: str, sub: str = "joe", tenant: str = "acme", path: str = "/v1/payments") -> httpx.Response:
            bearer = tokens.setdefault((tenant, sub), token(tenant, sub=sub))
            return client.get(url + path, headers={"Authorization": f"Bearer {bearer}"})

        yield asked


def subject() -> str:
    return f"sub-{uuid4().hex}"


def withheld() -> float:
    return REGISTRY.get_sample_value("paidonce_valkey_calls_total", {"outcome": "withheld"}) or 0.0


def left(answer: httpx.Response) -> tuple[int, int]:
    found = QUOTA.match(answer.headers["ratelimit"])
    assert found, answer.headers["ratelimit"]
    return int(found[1]), int(found[3])


def test_two_replicas_keep_one_count(start: Start, ask: Ask) -> None:
    replicas = [start(rate_limit_subject="5/day", rate_limit_tenant="100000/day") for _ in range(2)]
    joe = subject()
    answers = [ask(replicas[number % 2], joe) for number in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert [left(answer)[0] for answer in answers[:5]] == [4, 3, 2, 1, 0]
    tenants = [left(answer)[1] for answer in answers[:5]]
    assert tenants == [tenants[0] - number for number in range(5)]
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == '"subject";q=5;w=86400, "tenant";q=100000;w=86400'
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate-limited"
    quota = re.match(r'^"subject";r=0;t=(\d+)$', refused.headers["ratelimit"])
    assert quota, "what the subject's quota refuses does not touch the tenant's"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert abs(int(refused.headers["retry-after"]) - int(quota[1])) <= 1
    assert ask(replicas[0], subject()).status_code == 200, "another subject is not refused"
    assert left(ask(replicas[0], subject()))[1] == tenants[-1] - 2, "refused requests cost the tenant nothing"


def test_subjects_of_a_tenant_share_its_quota(start: Start, ask: Ask) -> None:
    url = start(rate_limit_tenant="3/day")
    assert [ask(url, subject(), "globex").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ask(url, subject(), "acme").status_code == 200


def test_without_a_quota_nothing_is_said(client: httpx.Client) -> None:
    answer = client.get("/v1/payments")
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


@pytest.mark.slow
def test_what_asks_no_server_is_not_counted(start: Start, ask: Ask) -> None:
    url, joe = start(rate_limit_subject="1/day"), subject()
    answers = [ask(url, joe, path="/v1/me") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "ratelimit" not in answers[0].headers
    assert [ask(url, joe).status_code for _ in range(2)] == [200, 429]


def test_a_refused_payment_was_not_made_and_its_key_is_free(start: Start, token: Callable[..., str]) -> None:
    url, joe = start(rate_limit_subject="1/day"), subject()
    headers = {"Authorization": f"Bearer {token(sub=joe)}", "Idempotency-Key": uuid4().hex}
    body: dict[str, Any] = {"amount": 1, "currency": "EUR", "payment_method": "pm_ok"}
    with httpx.Client(trust_env=False) as client:
        assert client.get(url + "/v1/payments", headers=headers).status_code == 200
        assert client.post(url + "/v1/payments", headers=headers, json=body).status_code == 429
        later = start()  # the same installation, once the window is over
        made = client.post(later + "/v1/payments", headers=headers, json=body)
        assert (made.status_code, made.headers.get("idempotent-replayed")) == (201, None)


@pytest.mark.parametrize(
    ("how", "when_away", "status"),
    [
        pytest.param("stalled", "open", 200, marks=pytest.mark.slow),
        ("gone", "closed", 503),
        pytest.param("gone", "open", 200, marks=pytest.mark.slow),
        pytest.param("stalled", "closed", 503, marks=pytest.mark.slow),
    ],
)
def test_while_valkey_is_away(run: Run, start: Start, ask: Ask, when_away: str, status: int, how: str) -> None:
    own = start_valkey(run, name=f"valkey-{uuid4().hex[:8]}")
    assert own.process
    url = start(valkey=own.url, rate_limit_subject="100/day", rate_limit_when_away=when_away, **QUICK)
    joe = subject()
    assert ask(url, joe).headers["ratelimit"].startswith('"subject";r=99;')
    own.process.send(signal.SIGSTOP if how == "stalled" else signal.SIGKILL)
    try:
        # Without the time limit each would wait for ever, and without the breaker each that long.
        before = withheld()
        for answer in [ask(url, joe) for _ in range(12)]:
            assert answer.status_code == status
            assert "ratelimit" not in answer.headers
            if status == 503:
                assert answer.json()["code"] == "rate-limit-unavailable"
                assert int(answer.headers["retry-after"]) > 0
        assert withheld() - before >= 3, "each request waited for a Valkey that is known to be away"
        assert ask(url, joe, path="/v1/me").status_code == 200
        own.process.send(signal.SIGCONT)
        if how == "gone":
            own.process.end(within_s=10)
            run.restart(own.process)
        healed = (ask(url, joe) for _ in range(10_000))
        assert any("ratelimit" in answer.headers for answer in healed), "it is back, and nobody counts"
    finally:
        own.process.send(signal.SIGCONT)
        own.process.stop()
