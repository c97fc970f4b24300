"""Who gets into the console: an operator of the one issuer, by its login page; and for how long."""

import re
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from starlette.routing import Route

from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings
from paidonce.console.login import is_here
from paidonce.console.main import create_app
from paidonce.console.place import place
from paidonce.console.sealed import Seal
from paidonce.console.session import SESSION
from paidonce.devstack.issuer.first_people import first_person
from paidonce.devstack.tokens import fetch_token

#: Whoever asks for these need not be logged in.
OPEN = {"/login", "/callback", "/healthz", "/readyz", "/style.css", "/icon.svg"}
COOKIE = f"paidonce-{SESSION}"


def closed(browser) -> Iterator[tuple[str, str]]:
    for route in browser.app.routes:
        assert isinstance(route, Route)
        if route.path not in OPEN:
            path = re.sub(
                r"{\w+:int}", "1", re.sub(r"{\w+:uuid}", "0199" + "0" * 4 + "-0000-7000-8000-000000000000", route.path)
            )
            yield "POST" if route.methods == {"POST"} else "GET", path.replace("{consumer}", "ledger")


def test_nobody_sees_or_does_anything_without_a_login(browser) -> None:
    routes = list(closed(browser))
    assert len(routes) > 10
    for method, path in routes:
        if method == "GET":
            answer = browser.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login?to="), path
        else:
            answer = browser.post(path, reason="because", sure="yes")
            assert answer.status_code == 401, path
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
    assert "does not have the role operator" in answer.text
    assert browser.get("/").status_code == 303, "no session has begun"


def test_an_operator_of_another_tenant_is_refused(own: Settings, opened) -> None:
    """At the API the same role lets a tenant's people see that tenant's trails."""
    answer = opened(own.model_copy(update={"console_tenants": frozenset({"acme"})})).log_in()
    assert answer.status_code == 403
    assert "another tenant" in answer.text


def session(browser, own: Settings, token: str) -> None:
    """Put a session into the browser whose cookie only this console could have made."""
    text = Seal(own).close(SESSION, {"token": token, "form_token": "f" * 43})
    browser.http.cookies.set(COOKIE, text)


def operators_token(settings: Settings) -> str:
    return fetch_token(settings.issuer, tenant="acme", roles=["operator"])


@pytest.fixture
def sealed(own: Settings) -> Settings:
    """A console whose operators are acme's, so that a client's token will do."""
    secret = SecretStr("s" * 32)
    return own.model_copy(update={"console_secret": secret, "console_tenants": frozenset({"acme"})})


def test_every_request_holds_the_token_against_keys_and_role(sealed: Settings, opened) -> None:
    one, good = opened(sealed), operators_token(sealed)
    session(one, sealed, good)
    assert one.get("/audit").status_code == 200
    session(one, sealed, fetch_token(sealed.issuer, roles=["admin"]))
    assert one.get("/audit").status_code == 403
    session(one, sealed, good[:-20] + "A" * 20)
    assert one.get("/audit").status_code == 303


def test_a_session_ends_with_its_token(sealed: Settings, opened) -> None:
    settings = sealed.model_copy(update={"token_skew_s": -600})
    one = opened(settings)
    session(one, settings, operators_token(settings))
    assert one.get("/audit").status_code == 303, "by this clock its ten minutes are over"


def test_an_operator_of_another_issuer_is_nobody_here(sealed: Settings, opened) -> None:
    """A tenant's own issuer could give its people any role."""
    central, theirs = TrustedIssuer(issuer="https://central.example"), TrustedIssuer(issuer=sealed.issuer)
    settings = sealed.model_copy(
        update={"issuers": [central, theirs], "console_issuer": central.issuer, "jwks_folder": None}
    )
    one = opened(settings)
    session(one, settings, operators_token(sealed))
    assert one.get("/audit").status_code == 303
    named = settings.model_copy(update={"console_issuer": theirs.issuer})
    one = opened(named)
    session(one, named, operators_token(sealed))
    assert one.get("/audit").status_code == 200, "where it is the console's own"


def test_with_several_issuers_one_must_be_named(own: Settings) -> None:
    two = [TrustedIssuer(issuer="https://a.example"), TrustedIssuer(issuer="https://b.example")]
    with pytest.raises(ConfigurationError, match="PAIDONCE_CONSOLE_ISSUER"):
        create_app(own.model_copy(update={"issuers": two}))


def test_without_a_tenant_that_runs_it_there_are_no_operators(own: Settings) -> None:
    with pytest.raises(ConfigurationError, match="PAIDONCE_CONSOLE_TENANTS"):
        create_app(own.model_copy(update={"console_tenants": frozenset()}))


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


@pytest.mark.parametrize("url", ["https://a.example:443", "https://A.example", "https://me@a.example", "https://a:x"])
def test_an_address_that_no_browser_names_as_origin_is_refused(url: str) -> None:
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
