"""Who is turned away, for how long, and what is never sent twice? Limits, the breaker, and retries to a service."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from paidonce.devstack.waiting import until

pytestmark = pytest.mark.gateway


@pytest.fixture
def service(serve, here):
    return serve(here.echo)


def gateway_to(run, here, keys, *upstreams, limits=None, **overrides):
    service = here.paidonce(upstreams[0]) | {"upstreams": [one.url for one in upstreams]}
    document = {"issuers": [here.issuer_at(keys)], "services": [service], "limits": limits or {}}
    return here.start(run, document, **overrides)


def many(caller, gateway, count, headers) -> list[httpx.Response]:
    def ask(_):
        return caller.get(f"{gateway.url}/v1/me", headers=headers)

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(ask, range(count)))


def test_an_address_that_asks_too_often(run, here, keys, service, caller, parties):
    gateway = gateway_to(run, here, keys, service, limits={"address": {"requests_per_s": 1, "burst": 4}})
    answers = many(caller, gateway, 20, here.bearing(parties.issuer.token()))
    refused = [answer for answer in answers if answer.status_code == 429]
    # The first, the burst, and one for each second that 20 requests take.
    assert 5 <= 20 - len(refused) <= 10
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["code"] for answer in refused} == {"rate-limited"}
    # It is turned away before its token is looked at.
    assert any(answer.status_code == 429 for answer in many(caller, gateway, 20, {}))


def test_a_subject_that_asks_too_often(run, here, keys, service, caller, parties):
    gateway = gateway_to(run, here, keys, service, limits={"subject": {"requests": 10, "window_s": 3_600}})
    joe = here.bearing(parties.issuer.token())
    answers = many(caller, gateway, 25, joe)
    # Over all workers together: exactly so many, not so many by each.
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 15
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 3_600
    assert refused.json()["code"] == "rate-limited"
    # It is the subject that counts: neither another token of it, nor another tenant's of that name.
    again = here.bearing(parties.issuer.with_claims(jti="2"))
    assert caller.get(f"{gateway.url}/v1/me", headers=again).status_code == 429
    for claims in ({"sub": "ann"}, {"tenant": "globex"}):
        other = here.bearing(parties.issuer.with_claims(**claims))
        assert caller.get(f"{gateway.url}/v1/me", headers=other).status_code == 200
    assert len(service.seen) == 12
    # Nobody uses up joe's quota without joe's token.
    forged = here.bearing(parties.stranger.with_claims(sub="eve"))
    assert {answer.status_code for answer in many(caller, gateway, 15, forged)} == {401}
    eve = here.bearing(parties.issuer.with_claims(sub="eve"))
    assert caller.get(f"{gateway.url}/v1/me", headers=eve).status_code == 200


class Flaky:
    """Answers, or ends the connection when it has read the request."""

    def __init__(self, here):
        self.here, self.good = here, True

    def __call__(self, seen):
        return self.here.echo(seen) if self.good else None


def test_the_breaker_opens_and_closes(run, here, keys, serve, caller, parties):
    flaky = Flaky(here)
    service = serve(flaky)
    gateway = gateway_to(run, here, keys, service, breaker_failures=3, breaker_open_s=0.5)
    joe = here.bearing(parties.issuer.token())

    def ask() -> httpx.Response:
        return caller.get(f"{gateway.url}/v1/me", headers=joe)

    assert ask().status_code == 200
    flaky.good = False
    before = len(service.seen)
    failed = ask()
    assert (failed.status_code, failed.json()["code"], failed.headers["retry-after"]) == (502, "bad-gateway", "1")
    # What may be repeated NGINX asks twice on a connection that it had kept, Envoy always, with one replica too.
    assert {ask().status_code for _ in range(2)} <= {502, 503}
    assert 3 <= len(service.seen) - before <= 4
    before = len(service.seen)
    refused = ask()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["code"] == "unavailable"
    assert len(service.seen) == before
    flaky.good = True
    until(lambda: ask().status_code == 200, within_s=10, what="the breaker to close")
    assert [ask().status_code for _ in range(5)] == [200] * 5


# Envoy lets all requests try when the time is over.
@pytest.mark.only("NGINX")
def test_while_it_is_open_one_request_tries_at_a_time(run, here, keys, serve, caller, parties):
    flaky, entered, leave = Flaky(here), threading.Semaphore(0), threading.Event()

    def answer(seen):
        if flaky.good:
            entered.release()
            leave.wait(10)
        return flaky(seen)

    service = serve(answer)
    gateway = gateway_to(run, here, keys, service, breaker_failures=2, breaker_open_s=1)
    joe = here.bearing(parties.issuer.token())
    flaky.good = False
    assert [caller.get(f"{gateway.url}/v1/me", headers=joe).status_code for _ in range(2)] == [502, 502]
    flaky.good = True
    before = len(service.seen)
    with ThreadPoolExecutor(1) as threads:

        def until_let_in() -> int:
            while (found := caller.get(f"{gateway.url}/v1/me", headers=joe).status_code) == 503:
                pass
            return found

        tried = threads.submit(until_let_in)
        assert entered.acquire(timeout=10)
        assert caller.get(f"{gateway.url}/v1/me", headers=joe).status_code == 503
        assert len(service.seen) == before + 1
        leave.set()
        assert tried.result(15) == 200
    assert caller.get(f"{gateway.url}/v1/me", headers=joe).status_code == 200


def test_what_a_service_answers_is_no_failure_of_its(run, here, keys, serve, caller, parties):
    service = serve(lambda _: (502, {"Content-Type": "application/json"}, b"{}"))
    gateway = gateway_to(run, here, keys, service, breaker_failures=2)
    joe = here.bearing(parties.issuer.token())
    assert {caller.get(f"{gateway.url}/v1/me", headers=joe).status_code for _ in range(6)} == {502}
    assert len(service.seen) == 6


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_not_be_repeated_is_sent_once(run, here, keys, serve, caller, parties, method, headers):
    """Both replicas read the request and give no answer: whether it acted, the gateway cannot know."""
    first, second = serve(lambda _: None), serve(lambda _: None)
    gateway = gateway_to(run, here, keys, first, second)
    path = "/v1/payments" if method == "POST" else "/v1/payments/0193e4a0-0000-7000-8000-000000000001"
    for _ in range(6):
        before = len(first.seen) + len(second.seen)
        answer = caller.request(
            method, gateway.url + path, headers=headers | here.bearing(parties.issuer.token()), content=b"{}"
        )
        assert answer.status_code == 502
        # None at all, where nginx has set both aside for a second.
        assert len(first.seen) + len(second.seen) <= before + 1
    assert first.seen
    assert second.seen


@pytest.mark.only("Envoy")
@pytest.mark.parametrize(
    ("method", "headers", "times"),
    [("POST", {"Idempotency-Key": "k"}, 2), ("POST", {}, 1), ("PATCH", {"Idempotency-Key": "k"}, 1)],
)
def test_only_a_keyed_post_is_sent_again_where_the_route_file_says_so(
    run, here, keys, serve, caller, parties, method, headers, times
):
    first, second = serve(lambda _: None), serve(lambda _: None)
    repeating = here.paidonce(first, repeat_keyed=True) | {"upstreams": [first.url, second.url]}
    gateway = here.start(run, {"issuers": [here.issuer_at(keys)], "services": [repeating]})
    path = "/v1/payments" if method == "POST" else "/v1/payments/0193e4a0-0000-7000-8000-000000000001"
    answer = caller.request(
        method, gateway.url + path, headers=headers | here.bearing(parties.issuer.token()), content=b"{}"
    )
    assert answer.status_code == 502
    seen = [*first.seen, *second.seen]
    assert [one.values("idempotency-key") for one in seen] == [list(headers.values())] * times
    assert {one.body for one in seen} == {b"{}"}


def test_what_may_be_repeated_goes_to_another_replica(run, here, keys, serve, caller, parties):
    first, second = serve(lambda _: None), serve(here.echo)
    gateway = gateway_to(run, here, keys, first, second)
    joe = here.bearing(parties.issuer.token())
    assert {caller.get(f"{gateway.url}/v1/me", headers=joe).status_code for _ in range(6)} == {200}


def test_a_post_that_no_replica_began_to_read_goes_to_another(run, here, keys, serve, caller, parties):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        gone = here.Server(here.echo, port=bound.getsockname()[1])
    second = serve(here.echo)
    gateway = gateway_to(run, here, keys, gone, second)
    joe = here.bearing(parties.issuer.token())
    answers = [caller.post(f"{gateway.url}/v1/payments", headers=joe, content=b"{}") for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert len(second.seen) == 6


def test_a_service_that_says_nothing_is_given_up(run, here, keys, serve, caller, parties):
    leave = threading.Event()
    service = serve(lambda _: leave.wait(20) and None)
    document = {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(service, answer_s=1)]}
    gateway = here.start(run, document)
    answer = caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.issuer.token()))
    leave.set()
    assert (answer.status_code, answer.json()["code"]) == (504, "gateway-timeout")


@pytest.mark.only("Envoy")
def test_envoys_own_figures(run, here, keys, service, caller, parties):
    gateway = gateway_to(run, here, keys, service)
    caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.issuer.token()))
    caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.stranger.token()))
    answered = 'envoy_http_downstream_rq_xx{envoy_response_code_class="%s",envoy_http_conn_manager_prefix="gateway"}'
    assert gateway.figure(answered % 2) == 1
    assert gateway.figure(answered % 4) == 1
    assert gateway.figure('envoy_cluster_upstream_rq_total{envoy_cluster_name="service_paidonce"}') == 1
    # It is all of Envoy's administration that can be reached, and no route of a caller leads there.
    inside = f"http://127.0.0.1:{gateway.metrics_port}"
    assert caller.post(f"{inside}/metrics").status_code == 404
    for path in ("/quitquitquit", "/config_dump", "/metrics/../config_dump", "/"):
        assert caller.get(inside + path).status_code == 404
    assert caller.get(f"{gateway.url}/metrics").status_code == 404


@pytest.mark.only("NGINX")
def test_the_figures(run, here, keys, service, caller, parties):
    gateway = gateway_to(run, here, keys, service)
    caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.issuer.token()))
    caller.get(f"{gateway.url}/v1/me")
    assert gateway.figure('paidonce_gateway_requests_total{service="paidonce",status="200"}') == 1
    assert gateway.figure('paidonce_gateway_refused_total{service="paidonce",reason="no bearer token"}') == 1
    assert gateway.figure('paidonce_gateway_key_fetches_total{issuer="https://issuer.example",result="good"}') == 1
    assert gateway.figure('paidonce_gateway_key_set_age_seconds{issuer="https://issuer.example"}') < 60
    # No route of a caller leads there.
    assert caller.get(f"{gateway.url}/metrics").status_code == 404
