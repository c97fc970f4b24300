"""Does a program log a person in by the page that it is shown, and say so when it cannot?"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from paidonce.devstack.errors import StackError
from paidonce.devstack.person_login import CALLBACK, Door, log_in

PAGE = (
    '<form action="/enter?step=1&amp;more=2" method="post"><input type="hidden" name="kept" value="a&amp;b">'
    '<input name="username"></form><form action="/other"><input type="hidden" name="strange" value="1"></form>'
)


class Issuer(BaseHTTPRequestHandler):
    """Shows `page`, and sends back to the client with what `back` says."""

    page, back = PAGE, "state={state}&iss={iss}&code=the-code"
    asked: dict[str, str]
    posted: list[tuple[str, dict[str, list[str]], str | None]]

    def do_GET(self) -> None:
        type(self).asked = dict(parse_qsl(urlsplit(self.path).query))
        self.send_response(200)
        self.send_header("Set-Cookie", "session=s-1; Secure; HttpOnly; Path=/")
        self.said(self.page.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.posted.append((self.path, parse_qs(body), self.headers["Cookie"]))
        if self.path == "/token":
            self.send_response(200)
            self.said(b'{"access_token": "the-token"}')
        else:
            iss = f"http://{self.headers['Host']}"
            self.send_response(303)
            self.send_header("Location", f"{CALLBACK}?{self.back.format(state=self.asked['state'], iss=iss)}")
            self.said(b"")

    def said(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> type[Issuer]:
    return type("AnIssuer", (Issuer,), {"posted": []})


@pytest.fixture
def door(issuer: type[Issuer]) -> Iterator[Door]:
    with ThreadingHTTPServer(("127.0.0.1", 0), issuer) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield Door(f"{url}/authorize", f"{url}/token", "a-program", url)
        server.shutdown()


def test_the_first_form_is_filled_in_as_it_came(door: Door, issuer: type[Issuer]) -> None:
    assert log_in(door, "ann", "secret", "payments:read") == {"access_token": "the-token"}
    (path, form, cookie), (_, exchanged, _) = issuer.posted
    assert path == "/enter?step=1&more=2"
    assert form == {"kept": ["a&b"], "username": ["ann"], "password": ["secret"]}
    assert cookie == "session=s-1"
    assert issuer.asked["scope"] == "payments:read"
    assert (exchanged["code"], exchanged["redirect_uri"]) == (["the-code"], [CALLBACK])
    assert len(exchanged["code_verifier"][0]) >= 43


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"page": "<p>no such client</p>"}, "shows no login page: 200: <p>no such client"),
        ({"back": "error=access_denied&state={state}&iss={iss}"}, "does not let ann in: 303: .*access_denied"),
        ({"back": "state=another&iss={iss}&code=stolen"}, "does not let ann in"),
        ({"back": "state={state}&iss=http://elsewhere&code=mixed-up"}, "does not let ann in"),
    ],
)
def test_what_goes_wrong_is_said(changed: dict[str, str], said: str, door: Door, issuer: type[Issuer]) -> None:
    for name, value in changed.items():
        setattr(issuer, name, value)
    with pytest.raises(StackError, match=said):
        log_in(door, "ann", "secret")
