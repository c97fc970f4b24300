"""A handler that is a URL: the message comes signed, and the answer decides what becomes of it."""

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from pydantic import SecretStr

from paidonce import outbox
from paidonce.app.clock import SystemClock
from paidonce.app.errors import ConfigurationError
from paidonce.app.webhooks import signing
from paidonce.app.yours import handlers, push
from paidonce.devstack.ports import free_port

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Endpoint:
    """Somebody's handler: what it got, and what it answers for each subject, in turn."""

    url: str = ""
    answers: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def subjects(self) -> list[str]:
        return [json.loads(body)["subject"] for _, body in self.got]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status, headers = (made.answers.get(json.loads(body)["subject"]) or [(204, {})]).pop(0)
            self.send_response(status)
            for name, value in ({"Content-Length": "0"} | headers).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}/placed"
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def pushed(shop, endpoint):
    """The consumer `stock` whose handler is the endpoint, or another URL."""
    settings = shop.settings.model_copy(update={"push_secret": SecretStr(SECRET), "push_again_s": 0.01})
    pushers = []

    def make(url: str = ""):
        pushers.append(push.Pusher(settings, SystemClock()))
        works = [(f"{shop.about}.placed", push.Pushed(url or endpoint.url, pushers[-1]))]
        return shop.member(handlers.subscriber_of("stock", works, alone=True))

    yield make
    for one in pushers:
        one.close()


def place(shop, *orders: str) -> list[str]:
    with shop.bind.begin() as tx:
        return [str(outbox.append(tx, f"{shop.about}.placed", order, {"order": order}, sequence=3)) for order in orders]


def done(shop) -> int:
    return shop.column("SELECT count(*) FROM inbox")[0]


def test_it_comes_signed_with_its_id_as_a_cloudevent(shop, endpoint, pushed) -> None:
    [id_] = place(shop, "o-1")
    pushed()
    shop.until(lambda: done(shop) == 1)
    [(headers, body)] = endpoint.got
    assert signing.verify(SECRET, headers, body, now=datetime.now(UTC)) == id_
    assert headers["content-type"].startswith("application/cloudevents+json")
    event = json.loads(body)
    assert event["data"] == {"order": "o-1"}
    assert (event["id"], event["type"], event["subject"]) == (id_, f"{shop.about}.placed", "o-1")
    assert (event["specversion"], event["sequence"]) == ("1.0", "3")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((409, {}), "answered 409"),
        pytest.param((429, {"Retry-After": "0"}), "answered 429", marks=pytest.mark.slow),
        pytest.param((500, {}), "answered 500", marks=pytest.mark.slow),
        pytest.param((302, {"Location": "/elsewhere"}), "answered 302", marks=pytest.mark.slow),
    ],
)
def test_what_is_not_taken_yet_waits_with_its_key_and_holds_up_nobody_else(
    shop, endpoint, pushed, answer, reason
) -> None:
    endpoint.answers["o-1"] = [answer] * 3
    place(shop, "o-1", "o-1", "o-2")
    pushed()
    waited = []
    shop.until(
        lambda: waited.extend(shop.column("SELECT reason FROM parked")) or len(endpoint.subjects) >= 6  # type: ignore[func-returns-value]
    )
    assert endpoint.subjects.count("o-1") == 5, "three times not yet, and both of its key"
    assert endpoint.subjects.count("o-2") == 1
    assert any(reason in one for one in waited)
    shop.until(lambda: shop.column("SELECT count(*) FROM parked") == [0])


@pytest.mark.slow
def test_retry_after_is_kept_to(shop, endpoint, pushed) -> None:
    endpoint.answers["o-1"] = [(429, {"Retry-After": "600"})]
    place(shop, "o-1")
    pushed()
    shop.until(lambda: shop.column("SELECT count(*) FROM parked") == [1])
    assert shop.column("SELECT extract(epoch FROM next_attempt_at - now()) BETWEEN 500 AND 600 FROM parked") == [True]


def test_410_is_poison(shop, endpoint, pushed) -> None:
    endpoint.answers["o-1"] = [(410, {})]
    place(shop, "o-1", "o-2")
    pushed()
    shop.until(lambda: done(shop) == 2)
    [(reason,)] = shop.rows("SELECT reason FROM dead_letters")
    assert "answered 410" in reason
    assert sorted(endpoint.subjects) == ["o-1", "o-2"], "each was pushed once"


@pytest.mark.slow
def test_an_endpoint_that_is_away_is_waited_for_and_nothing_is_put_aside(shop, endpoint, pushed) -> None:
    place(shop, "o-1", "o-2")
    away = pushed(f"http://127.0.0.1:{free_port()}/")
    shop.until(lambda: any("takes no connection" in one for one in shop.disturbed))
    assert shop.rows("SELECT 1 FROM parked UNION ALL SELECT 1 FROM dead_letters UNION ALL SELECT 1 FROM inbox") == []
    shop.members.remove(away)
    away.close()
    pushed()
    shop.until(lambda: done(shop) == 2)
    assert sorted(endpoint.subjects) == ["o-1", "o-2"]


class DeathError(BaseException):
    """The process is killed in the midst of a push."""


@pytest.mark.slow
def test_a_process_that_is_killed_in_many_pushes_condemns_no_message(shop, endpoint, pushed, monkeypatch) -> None:
    place(shop, "o-1")
    killed = 0
    while killed < 4:
        member = pushed()
        with monkeypatch.context() as patch:
            patch.setattr(push.Pusher, "push", die)
            with pytest.raises(DeathError):
                shop.until(lambda: False)
        killed += 1
        shop.members.remove(member)
        member.source._give_back = lambda partitions: None
        member.close()
    pushed()
    shop.until(lambda: done(shop) == 1)
    assert endpoint.subjects == ["o-1"]
    assert shop.column("SELECT count(*) FROM dead_letters") == [0]


def die(*_: object) -> None:
    raise DeathError


@pytest.mark.parametrize(
    "option", ["order.placed", "order.placed=ftp://a", "order.placed=/path", "order.placed=http://"]
)
def test_a_handler_that_is_no_url_is_refused(option) -> None:
    with pytest.raises(ConfigurationError, match="--push"):
        push.wanted(option)
