"""Does the login work in a real browser, with what it says of itself: Origin, Referrer-Policy, cookies, form-action?"""

import secrets
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import uvicorn
from pydantic import SecretStr

from paidonce.devstack.chromium import find_chromium
from paidonce.devstack.issuer.app import create
from paidonce.devstack.issuer.clients import BROWSER
from paidonce.devstack.issuer.codes import s256
from paidonce.devstack.issuer.cookie import NAME
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.first_people import first_person

pytestmark = pytest.mark.page

#: What that page does to get a token.
ASK = """
([url, form]) => fetch(url, {method: "POST", credentials: "include", body: new URLSearchParams(form)})
  .then(async answer => [answer.status, await answer.json()])
"""


@pytest.fixture
def issuer(issuer_database: str, keys: Any) -> Iterator[str]:
    """The issuer, listening: a browser needs an address."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        application = create(keys, url, database=Database(SecretStr(issuer_database)))
        server = uvicorn.Server(uvicorn.Config(application, log_config=None))
        thread = threading.Thread(target=server.run, args=[[bound]])
        thread.start()
        yield url
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def callback() -> Iterator[str]:
    """The program's own page, at an address of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/callback"
        server.shutdown()


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a headless Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  installed by `make test-page` alone

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_a_person_logs_in_and_stays_so(issuer: str, callback: str, page: Any) -> None:
    verifier = secrets.token_urlsafe(48)
    question = {
        "response_type": "code",
        "client_id": BROWSER,
        "redirect_uri": callback,
        "code_challenge": s256(verifier),
        "code_challenge_method": "S256",
    }
    page.goto(f"{issuer}/authorize?{urlencode(question)}")
    name, password = first_person("acme")
    page.fill("[name=username]", name)
    page.fill("[name=password]", password)
    page.click("button")
    page.wait_for_url("**/callback*")
    code = dict(parse_qsl(urlsplit(page.url).query))["code"]
    form = {"client_id": BROWSER, "grant_type": "authorization_code", "code": code, "redirect_uri": callback}
    status, got = page.evaluate(ASK, [f"{issuer}/token", form | {"code_verifier": verifier}])
    assert (status, "refresh_token" in got) == (200, False), got
    refresh = {"client_id": BROWSER, "grant_type": "refresh_token"}
    assert [page.evaluate(ASK, [f"{issuer}/token", refresh])[0] for _ in range(2)] == [200, 200]
    assert page.evaluate("document.cookie") == "", "a script can read the refresh token"
    (kept,) = [cookie for cookie in page.context.cookies() if cookie["name"] == NAME]
    assert (kept["httpOnly"], kept["secure"], kept["sameSite"]) == (True, True, "Strict")
