"""Who gets into the console: an operator of the one issuer, by its login page; and for how long."""

import re
from collections.abc import Iterator

import pytest
from starlette.routing import Route

from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings
from paidonce.console.login import is_here
from paidonce.console.main import create_app
from paidonce.console.place import place
from paidonce.console.sealed import Seal
from paidonce.console.session import SESSION
from paidonce.devstack.issuer.people import first_person
from paidonce.devstack.tokens import fetch_token

#: Whoever asks for these need not be logged in.
OPEN = {"/login", "/callback", "/healthz", "/readyz", "/style.css", "/icon.svg"}
COOKIE = f"paidonce-{SESSION}"


def closed() -> Iterator[tuple[str, str]]:
    for route in create_app(Settings()).routes:
        assert isinstance(route, Route)
        if route.path not in OPEN:
            path = re.sub(
                r"{\w+:int}", "1", re.sub(r"{\w+:uuid}", "0199" + "0" * 4 + "-0000-7000-8000-000000000000", route.path)
            )
            yield "POST" if route.methods == {"POST"} else "GET", path.replace("{consumer}", "ledger")


@pytest.mark.parametrize(("method", "path"), list(closed()))
def test_nobody_sees_or_does_anything_without_a_login(browser, method: str, path: str) -> None:
    if method == "GET":
        answer = browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?to=")
    else:
        answer = browser.post(path, reason="because", sure="yes")
        assert answer.status_code == 401
        assert "nothing was done" in answer.text


def test_an_operator_comes_back_to_the_page_that_they_wanted(browser) -> None:
    answer = browser.log_in(to="/audit")
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit")
    assert "Nothing was decided yet" in browser.page("/audit")


def test_the_cookie_is_read_by_no_script_and_names_nobody(browser) -> None:
    answer = browser.log_in()
    [cookie] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{COOKIE}=")]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert int(re.findall(r"Max-Age=(\d+)", cookie)[0]) <= 600, "as long as the token, and no longer"
    assert "olga" not in cookie


def test_a_valid_token_without_the_role_is_refused(browser) -> None:
    answer = browser.log_in(first_person("acme"))
    assert answer.status_code == 403
    assert "has not the role operator" in answer.text
    assert browser.get("/").status_code == 303, "no session has begun"


def test_an_operator_of_another_tenant_is_refused(own: Settings, opened) -> None:
    settings = own.model_copy(update={"console_tenants": frozenset({"globex"})})
    answer = opened(settings).log_in()
    assert answer.status_code == 403
    assert "another tenant" in answer.text


def session(browser, own: Settings, token: str) -> None:
    """Put a session into the browser whose cookie only this console could have made."""
    text = Seal(own).close(SESSION, {"token": token, "form_token": "f" * 43})
    browser.http.cookies.set(COOKIE, text)


@pytest.fixture
def sealed(own: Settings) -> Settings:
    return own.model_copy(update={"console_secret": type(own.console_secret)("s" * 32)})


def test_every_request_holds_the_token_against_keys_and_role(sealed: Settings, opened) -> None:
    one, good = opened(sealed), fetch_token(sealed.issuer, roles=["operator"])
    session(one, sealed, good)
    assert one.get("/audit").status_code == 200
    session(one, sealed, fetch_token(sealed.issuer, roles=["admin"]))
    assert one.get("/audit").status_code == 403
    session(one, sealed, good[:-20] + "A" * 20)
    assert one.get("/audit").status_code == 303


def test_a_session_ends_with_its_token(sealed: Settings, opened) -> None:
    settings = sealed.model_copy(update={"token_skew_s": -600})
    one = opened(settings)
    session(one, settings, fetch_token(settings.issuer, roles=["operator"]))
    assert one.get("/audit").status_code == 303, "by this clock its ten minutes are over"


def test_an_operator_of_another_issuer_is_nobody_here(sealed: Settings, opened) -> None:
    """A tenant's own issuer could give its people any role."""
    central, theirs = TrustedIssuer(issuer="https://central.example"), TrustedIssuer(issuer=sealed.issuer)
    settings = sealed.model_copy(
        update={"issuers": [central, theirs], "console_issuer": central.issuer, "jwks_folder": None}
    )
    one = opened(settings)
    session(one, settings, fetch_token(sealed.issuer, roles=["operator"]))
    assert one.get("/audit").status_code == 303
    named = settings.model_copy(update={"console_issuer": theirs.issuer})
    one = opened(named)
    session(one, named, fetch_token(sealed.issuer, roles=["operator"]))
    assert one.get("/audit").status_code == 200, "where it is the console's own"


def test_with_several_issuers_one_must_be_named(own: Settings) -> None:
    two = [TrustedIssuer(issuer="https://a.example"), TrustedIssuer(issuer="https://b.example")]
    with pytest.raises(ConfigurationError, match="PAIDONCE_CONSOLE_ISSUER"):
        create_app(own.model_copy(update={"issuers": two}))


def test_an_answer_that_belongs_to_no_login_is_refused(browser) -> None:
    assert browser.get("/callback?code=x&state=y").status_code == 400
    browser.get("/login")
    answer = browser.get("/callback?code=x&state=y")
    assert answer.status_code == 400
    assert "another login" in answer.text


def test_a_login_cookie_is_no_session_and_a_made_up_one_neither(browser) -> None:
    browser.get("/login")
    browser.http.cookies.set(COOKIE, browser.http.cookies["paidonce-login"])
    assert browser.get("/").status_code == 303
    browser.http.cookies.set(COOKIE, "a.b.c.d.e")
    assert browser.get("/").status_code == 303


def test_after_logging_out_the_browser_holds_nothing(olga) -> None:
    assert olga.post("/logout", form_token=olga.form_token()).status_code == 200
    assert COOKIE not in olga.http.cookies
    assert olga.get("/").status_code == 303


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", "/" * 600]
)
def test_a_login_leads_to_no_other_site(to: str) -> None:
    assert not is_here(to)


@pytest.mark.parametrize("url", ["http://console.example", "http://10.0.0.1:80", "ftp://127.0.0.1", "https://a/b", "x"])
def test_cookies_do_not_travel_in_the_open(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CONSOLE_URL"):
        place(Settings(console_url=url))


def test_over_tls_cookies_are_bound_to_tls_and_host() -> None:
    here = place(Settings(console_url="https://console.example"))
    assert here.secure
    assert here.cookie("console").startswith("__Host-")
    assert here.callback == "https://console.example/callback"


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="PAIDONCE_CONSOLE_SECRET"):
        Seal(Settings(console_secret="short"))
