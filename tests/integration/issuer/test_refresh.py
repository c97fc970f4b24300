"""Is a refresh token good once, and does its second use end the whole login, however the two uses meet?"""

import asyncio
from datetime import timedelta

import pytest

from paidonce.devstack.issuer.cookie import NAME
from paidonce.devstack.issuer.families import IDLE, LIFE

#: Simultaneous uses of one token, and how often that is tried.
CROWD, ROUNDS = 8, 5
ISS = "http://127.0.0.1:8081"


def living(rows) -> int:
    """Count the families that could still be refreshed."""
    return rows.execute(
        "SELECT count(DISTINCT f.id) FROM issuer_1.families f JOIN issuer_1.refresh_tokens t ON t.family_id = f.id "
        "WHERE f.revoked_at IS NULL AND t.used_at IS NULL"
    ).fetchone()[0]


def reuses(rows) -> int:
    return rows.execute("SELECT count(*) FROM issuer_1.events WHERE name = 'refresh_token_reused'").fetchone()[0]


async def test_each_use_gives_the_next(native, keys):
    got = await native.logged_in()
    seen = {got["refresh_token"]}
    for _ in range(3):
        answer = await native.refresh(got["refresh_token"])
        assert answer.status_code == 200
        got = answer.json()
        assert keys.claims(got["access_token"], ISS)["sub"] == "ann@acme.example"
        seen.add(got["refresh_token"])
    assert len(seen) == 4
    assert answer.headers["cache-control"] == "no-store"


async def test_a_token_that_comes_again_ends_the_family_with_one_event(native, rows):
    first = (await native.logged_in())["refresh_token"]
    second = (await native.refresh(first)).json()["refresh_token"]
    third = (await native.refresh(second)).json()["refresh_token"]
    before, alive = reuses(rows), living(rows)
    for stolen in (first, first, second):
        refused = await native.refresh(stolen)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await native.refresh(third)).status_code == 400, "the newest is dead too"
    assert (reuses(rows) - before, living(rows) - alive) == (1, -1)
    about = rows.execute("SELECT about FROM issuer_1.events ORDER BY id DESC LIMIT 1").fetchone()[0]
    assert set(about) == {"family", "client_id", "sub", "tenant"}
    assert (about["sub"], about["client_id"]) == ("ann@acme.example", native.id)


async def test_of_simultaneous_uses_one_succeeds_and_no_family_lives_on(native, rows):
    for _ in range(ROUNDS):
        token = (await native.logged_in())["refresh_token"]
        before, alive = reuses(rows), living(rows)
        answers = await asyncio.gather(*(native.refresh(token) for _ in range(CROWD)))
        winners = [answer for answer in answers if answer.status_code == 200]
        assert len(winners) == 1
        assert {answer.status_code for answer in answers} == {200, 400}
        assert (await native.refresh(winners[0].json()["refresh_token"])).status_code == 400
        assert (reuses(rows) - before, living(rows) - alive) == (1, -1)


async def test_a_use_meets_a_revocation(native, rows):
    """Whichever is first: after both, nothing is left to refresh."""
    for _ in range(ROUNDS):
        token = (await native.logged_in())["refresh_token"]
        alive = living(rows)
        form = {"token": token, "client_id": native.id}
        used, _ = await asyncio.gather(native.refresh(token), native.http.post("/revoke", data=form))
        if used.status_code == 200:
            assert (await native.refresh(used.json()["refresh_token"])).status_code == 400
        assert living(rows) == alive - 1


async def test_a_code_exchanged_twice_at_once_leaves_no_login(native, rows):
    for _ in range(ROUNDS):
        code, alive = await native.code(), living(rows)
        answers = await asyncio.gather(*(native.exchange(code) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
        assert living(rows) == alive


async def test_another_client_s_token_is_refused_and_left_alone(native, browser):
    token = (await native.logged_in())["refresh_token"]
    assert (await browser.refresh_by_cookie(token)).status_code == 400
    assert (await native.refresh(token)).status_code == 200


@pytest.mark.parametrize(("after", "status"), [(IDLE - timedelta(minutes=1), 200), (IDLE, 400)])
async def test_an_idle_login_ends(native, clock, after, status):
    token = (await native.logged_in())["refresh_token"]
    clock.ahead = after + timedelta(seconds=1)
    assert (await native.refresh(token)).status_code == status


async def test_a_busy_login_ends_too(native, clock):
    token = (await native.logged_in())["refresh_token"]
    while clock.ahead < LIFE - IDLE:
        clock.ahead += IDLE - timedelta(hours=1)
        token = (await native.refresh(token)).json()["refresh_token"]
    clock.ahead = LIFE + timedelta(seconds=1)
    assert (await native.refresh(token)).status_code == 400


async def test_a_browser_s_token_is_in_a_cookie_and_never_in_the_body(browser):
    answer = await browser.exchange(await browser.code())
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    cookie = answer.headers["set-cookie"]
    token = cookie.removeprefix(f"{NAME}=").partition(";")[0]
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        "secure",
        "samesite=strict",
        "path=/",
        f"max-age={int(IDLE.total_seconds())}",
    }
    refreshed = await browser.refresh_by_cookie(token)
    assert refreshed.status_code == 200
    assert token not in refreshed.headers["set-cookie"]
    assert refreshed.headers["access-control-allow-origin"] == "http://127.0.0.1:5173"
    assert refreshed.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", "http://127.0.0.1.evil.example:80", "http://127.0.0.1:1:2", "http://["],
)
async def test_other_sites_cannot_use_the_cookie(browser, origin):
    answer = await browser.exchange(await browser.code())
    token = answer.headers["set-cookie"].removeprefix(f"{NAME}=").partition(";")[0]
    refused = await browser.refresh_by_cookie(token, origin)
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    assert (await browser.refresh_by_cookie(token)).status_code == 200, "it was not used up"


async def test_a_browser_s_token_is_not_taken_from_a_form(browser):
    answer = await browser.exchange(await browser.code())
    token = answer.headers["set-cookie"].removeprefix(f"{NAME}=").partition(";")[0]
    assert (await browser.refresh(token)).json()["error"] == "invalid_request"


async def test_logging_out_takes_cookie_and_login_away(browser):
    answer = await browser.exchange(await browser.code())
    token = answer.headers["set-cookie"].removeprefix(f"{NAME}=").partition(";")[0]
    headers = {"Cookie": f"{NAME}={token}", "Origin": "http://127.0.0.1:5173"}
    out = await browser.http.post("/revoke", data={"client_id": browser.id}, headers=headers)
    assert out.status_code == 200
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await browser.refresh_by_cookie(token)).status_code == 400
