"""Whose keys, from where, for how long? The key set of all workers: fetched seldom, kept through outages and starts."""

import json
import os
import signal
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.gateway, pytest.mark.only("NGINX")]


class Issuer:
    """A key server whose answer can change; None: it ends the connection."""

    def __init__(self, *jwks: dict):
        self.headers = {}
        self.gate = threading.Event()
        self.gate.set()
        self.publish(*jwks)

    def publish(self, *jwks: dict) -> None:
        self.body = json.dumps({"keys": list(jwks)}).encode()

    def __call__(self, seen):
        self.gate.wait(10)
        return None if self.body is None else (200, self.headers, self.body)


@pytest.fixture
def keyed(parties):
    return Issuer(parties.issuer.jwk())


@pytest.fixture
def server(serve, keyed):
    return serve(keyed)


@pytest.fixture(scope="module")
def service(serve, here):
    return serve(here.echo)


def document(here, server, service, **more):
    return {"issuers": [here.issuer_at(server)], "services": [here.paidonce(service)]} | more


@pytest.fixture
def ask(caller):
    def ask(gateway, headers) -> int:
        return caller.get(f"{gateway.url}/v1/me", headers=headers).status_code

    return ask


@pytest.fixture
def at_once(ask):
    def at_once(gateway, count, headers) -> list[int]:
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: ask(gateway, headers), range(count)))

    return at_once


def test_all_workers_share_one_fetch(run, here, server, keyed, service, parties, ask):
    keyed.gate.clear()
    gateway = here.start(run, document(here, server, service))
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(ask, gateway, here.bearing(parties.issuer.token())) for _ in range(20)]
        until(lambda: len(server.seen) > 0, within_s=10, what="the fetch")
        keyed.gate.set()
        # The first requests wait for the first fetch: a start is no 401 and no 503.
        assert [one.result(15) for one in waiting] == [200] * 20
    assert len(server.seen) == 1


def test_unknown_keys_cause_one_fetch_for_all(run, here, server, service, parties, at_once, ask):
    gateway = here.start(run, document(here, server, service), jwks_cooldown_s=0.3)
    assert ask(gateway, here.bearing(parties.issuer.token())) == 200
    before = len(server.seen)
    unknown = here.bearing(parties.issuer.with_header(kid="key-9"))
    assert at_once(gateway, 30, unknown) == [401] * 30
    # One, or two where the last of them came after the cool-down.
    assert 1 <= len(server.seen) - before <= 2


def test_more_waiters_than_that_are_told_to_come_again(run, here, server, keyed, service, parties, ask):
    gateway = here.start(run, document(here, server, service), jwks_cooldown_s=0.01)
    assert ask(gateway, here.bearing(parties.issuer.token())) == 200
    keyed.gate.clear()
    with ThreadPoolExecutor(80) as threads:
        unknown = here.bearing(parties.issuer.with_header(kid="key-9"))
        waiting = [threads.submit(ask, gateway, unknown) for _ in range(80)]
        until(lambda: sum(one.done() for one in waiting) >= 16, within_s=10, what="the refusals")
        # A known key waits for nobody.
        assert ask(gateway, here.bearing(parties.issuer.token())) == 200
        assert [one.result() for one in waiting if one.done()] == [503] * sum(one.done() for one in waiting)
        keyed.gate.set()
        assert {one.result(15) for one in waiting} == {401, 503}


def test_a_new_key_works_with_its_first_token(run, here, server, keyed, service, parties, ask):
    gateway = here.start(run, document(here, server, service), jwks_cooldown_s=0.1)
    assert ask(gateway, here.bearing(parties.issuer.token())) == 200
    keyed.publish(parties.issuer.jwk(), parties.issuer.jwk(kid="key-2"))
    assert ask(gateway, here.bearing(parties.issuer.with_header(kid="key-2"))) == 200


def test_a_removed_key_stops_working_in_every_worker(run, here, server, keyed, service, parties, at_once, ask):
    gateway = here.start(run, document(here, server, service), jwks_cooldown_s=0.1)
    old = here.bearing(parties.issuer.token())
    assert at_once(gateway, 20, old) == [200] * 20
    keyed.publish(parties.issuer.jwk(kid="key-2"))
    assert ask(gateway, here.bearing(parties.issuer.with_header(kid="key-2"))) == 200
    assert at_once(gateway, 20, old) == [401] * 20


def test_the_set_is_fetched_again_ahead_of_its_end(run, here, server, keyed, service, parties, ask):
    gateway = here.start(run, document(here, server, service), jwks_cache_s=1)
    old = here.bearing(parties.issuer.token())
    assert ask(gateway, old) == 200
    keyed.publish(parties.issuer.jwk(kid="key-2"))
    # Nobody asks for the new key: it is the timer that notices.
    until(lambda: ask(gateway, old) == 401, within_s=15, what="the removed key to stop working")


def test_the_last_key_that_is_removed_stops_working_too(run, here, server, keyed, service, parties, at_once, ask):
    gateway = here.start(run, document(here, server, service), jwks_cache_s=1)
    old = here.bearing(parties.issuer.token())
    assert at_once(gateway, 20, old) == [200] * 20
    keyed.publish(parties.issuer.jwk(use="enc"))
    until(lambda: ask(gateway, old) == 503, within_s=15, what="the removed key to stop working")
    assert at_once(gateway, 20, old) == [503] * 20
    keyed.publish(parties.issuer.jwk())
    until(lambda: ask(gateway, old) == 200, within_s=15, what="the new set")


def test_while_the_issuer_is_away_the_old_set_works_and_fetches_are_few(
    run, here, server, keyed, service, parties, at_once, ask
):
    gateway = here.start(run, document(here, server, service), jwks_cache_s=1, jwks_cooldown_s=0.1)
    good = here.bearing(parties.issuer.token())
    assert ask(gateway, good) == 200
    keyed.body = None
    failed = 'paidonce_gateway_key_fetches_total{issuer="https://issuer.example",result="failed"}'
    until(lambda: gateway.figure(failed) >= 1, within_s=15, what="a failed fetch")
    before = len(server.seen)
    assert at_once(gateway, 50, good) == [200] * 50
    # What cannot be known is no 401.
    unknown = here.bearing(parties.issuer.with_header(kid="key-9"))
    assert set(at_once(gateway, 30, unknown)) == {503}
    # One after the other, each could begin a fetch: between two lies a time that grows, not a request.
    assert {ask(gateway, unknown) for _ in range(60)} == {503}
    assert len(server.seen) - before <= 15
    keyed.publish(parties.issuer.jwk(kid="key-2"))
    until(lambda: ask(gateway, good) == 401, within_s=60, what="the set to be fetched again")


def test_an_old_set_works_up_to_a_bound(run, here, server, keyed, service, parties, caller):
    gateway = here.start(run, document(here, server, service), jwks_cache_s=1, jwks_stale_h=0)
    keyed.body = None
    answer = caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.issuer.token()))
    assert (answer.status_code, answer.json()["code"]) == (503, "key-set-unavailable")
    assert answer.headers["retry-after"] == "1"


def test_a_start_needs_no_issuer(run, here, server, keyed, service, parties, ask):
    folder = here.new_folder(run)
    first = here.start_in(run, folder, document(here, server, service))
    good = here.bearing(parties.issuer.token())
    assert ask(first, good) == 200
    until(lambda: any((folder / "keys").iterdir()), within_s=10, what="the set on disk")
    first.process.stop()
    (kept,) = (folder / "keys").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    keyed.body = None
    again = here.start_in(run, folder, document(here, server, service))
    assert ask(again, good) == 200
    again.process.stop()
    # Somebody else may have written it, or it is older than a set may be.
    kept.chmod(0o666)
    third = here.start_in(run, folder, document(here, server, service))
    assert ask(third, good) == 503
    third.process.stop()
    kept.chmod(0o600)
    content = json.loads(kept.read_bytes())
    kept.write_text(json.dumps(content | {"fetched_at": content["fetched_at"] - 25 * 3_600}))
    fourth = here.start_in(run, folder, document(here, server, service))
    assert ask(fourth, good) == 503
    fourth.process.stop()
    kept.write_text("{")
    assert ask(here.start_in(run, folder, document(here, server, service)), good) == 503


def test_a_reload_keeps_the_keys(run, here, server, keyed, service, parties, at_once, ask):
    gateway = here.start(run, document(here, server, service))
    good = here.bearing(parties.issuer.token())
    assert ask(gateway, good) == 200
    keyed.body = None
    os.kill(gateway.process.pid, signal.SIGHUP)
    assert at_once(gateway, 20, good) == [200] * 20
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("another status", (404, {}, b'{"keys": []}')),
        ("no JSON", (200, {}, b"<html>")),
        ("no keys", (200, {}, b'{"keys": []}')),
        ("too large", (200, {}, b" " * 70_000)),
        ("a redirect", (302, {"Location": "https://example.com/"}, b"")),
        ("members twice", (200, {}, b'{"keys": [], "keys": []}')),
    ],
)
def test_an_answer_that_is_no_key_set_changes_nothing(run, here, serve, service, parties, what, answer, ask):
    del what
    server = serve(lambda _: answer)
    gateway = here.start(run, document(here, server, service))
    assert ask(gateway, here.bearing(parties.issuer.token())) == 503


UNUSED = [
    {"use": "enc"},
    {"alg": "RS512"},
    {"alg": "RSA-OAEP"},
    {"kty": "oct", "k": "c2VjcmV0"},
    {"key_ops": ["sign"]},
    {"d": "AQAB"},
    {"e": "Aw"},
    {"n": "not base64url!"},
    {"n": 7},
    {"kid": None},
    {"kid": "k" * 129},
]


@pytest.mark.parametrize("changes", UNUSED, ids=repr)
def test_a_key_that_is_none_of_ours_is_not_used(run, here, serve, service, parties, changes, ask):
    other = parties.issuer.jwk(kid="key-other")
    keyed = Issuer(parties.issuer.jwk(**changes), other)
    gateway = here.start(run, document(here, serve(keyed), service), jwks_cooldown_s=0.01)
    assert ask(gateway, here.bearing(parties.issuer.token())) == 401
    assert ask(gateway, here.bearing(parties.issuer.with_header(kid="key-other"))) == 200


def test_two_keys_under_one_id_are_not_used(run, here, serve, service, parties, ask):
    keyed = Issuer(parties.issuer.jwk(), parties.stranger.jwk(), parties.issuer.jwk(kid="key-other"))
    gateway = here.start(run, document(here, serve(keyed), service), jwks_cooldown_s=0.01)
    assert ask(gateway, here.bearing(parties.issuer.token())) == 401
    assert ask(gateway, here.bearing(parties.stranger.token())) == 401


def test_discovery(run, here, serve, service, parties, ask):
    pages = {}

    def answer(seen):
        return 200, {}, json.dumps(pages[seen.target]).encode()

    server = serve(answer)
    pages["/realm/keys"] = {"keys": [parties.issuer.jwk()]}
    pages["/realm/.well-known/openid-configuration"] = {
        "issuer": f"{server.url}/realm",
        "jwks_uri": f"{server.url}/realm/keys",
    }
    issuer = {"issuer": f"{server.url}/realm", "audiences": ["unused"]}
    gateway = here.start(run, {"issuers": [issuer], "services": [here.paidonce(service)]})
    assert ask(gateway, here.bearing(parties.issuer.with_claims(iss=f"{server.url}/realm"))) == 200
    pages["/realm/.well-known/openid-configuration"]["issuer"] = "https://another.example"
    gateway = here.start(run, {"issuers": [issuer], "services": [here.paidonce(service)]})
    assert ask(gateway, here.bearing(parties.issuer.with_claims(iss=f"{server.url}/realm"))) == 503


@contextmanager
def one_answer(answer: bytes):
    """A server that gives everybody these bytes, and then ends the connection."""
    bound = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                wire, _ = bound.accept()
                with wire, suppress(OSError):
                    wire.recv(65_536)
                    wire.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield bound.getsockname()[1]
    bound.shutdown(socket.SHUT_RDWR)
    bound.close()
    thread.join(10)


def test_chunks_and_no_length(run, here, service, parties, ask):
    body = json.dumps({"keys": [parties.issuer.jwk()]}).encode()
    chunked = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in (body[:100], body[100:])) + b"0\r\n\r\n"
    heads = [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked, 200),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", body, 200),
        (b"HTTP/1.0 200 OK\r\n\r\n", body, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n" + chunked, 503),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"fffffffff\r\n" + body, 503),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", body, 503),
        (b"SSH-2.0-hello\r\n\r\n", body, 503),
    ]
    for head, content, status in heads:
        with one_answer(head + content) as port:
            issuer = {"issuer": here.ISS, "jwks_url": f"http://127.0.0.1:{port}/jwks", "audiences": ["unused"]}
            gateway = here.start(run, {"issuers": [issuer], "services": [here.paidonce(service)]})
            assert ask(gateway, here.bearing(parties.issuer.token())) == status, head
            gateway.process.stop()


@pytest.mark.parametrize(
    ("name", "trusted", "status"),
    [
        ("127.0.0.1", True, 200),
        ("127.0.0.1", False, 503),
        ("other.example", True, 503),
    ],
)
def test_tls_checks_who_answers(run, here, serve, service, parties, name, trusted, status, ask):
    context, pem, _ = here.certified(here.new_folder(run), name)
    server = serve(Issuer(parties.issuer.jwk()), tls=context)
    issuer = {"issuer": here.ISS, "jwks_url": f"https://127.0.0.1:{server.port}/jwks", "audiences": ["unused"]}
    listening = {"authorities": str(pem)} if trusted else {}
    gateway = here.start(run, {"gateway": listening, "issuers": [issuer], "services": [here.paidonce(service)]})
    assert ask(gateway, here.bearing(parties.issuer.token())) == status


def test_keys_are_not_fetched_in_the_clear_from_elsewhere(run, here, service, parties, ask):
    issuer = {"issuer": here.ISS, "jwks_url": "http://192.0.2.1/jwks", "audiences": ["unused"]}
    gateway = here.start(run, {"issuers": [issuer], "services": [here.paidonce(service)]})
    assert ask(gateway, here.bearing(parties.issuer.token())) == 503
    assert gateway.logged("not https")
