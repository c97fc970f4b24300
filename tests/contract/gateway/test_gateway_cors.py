"""May a page of another origin call? By allow-lists, and each Access-Control header is there once or not at all."""

import pytest

pytestmark = pytest.mark.gateway
SHOP = "https://shop.example"
CORS = {
    "origins": [SHOP, "https://other.example"],
    "methods": ["GET", "POST", "PATCH"],
    "request_headers": ["Authorization", "Idempotency-Key", "If-Match", "Content-Type"],
    "exposed_headers": ["ETag", "Location", "Retry-After", "Idempotent-Replayed"],
    "credentials": True,
}


def talkative(seen):
    """A service that says more about other origins than it should."""
    headers = {
        "Access-Control-Allow-Origin": ["*", SHOP],
        "Access-Control-Allow-Credentials": "true",
        "access-control-expose-headers": "X-Secret",
        "Access-Control-Allow-Private-Network": "true",
        "Vary": "Accept",
        "ETag": '"1"',
    }
    return 200, headers, b"{}"


@pytest.fixture(scope="module")
def service(serve):
    return serve(talkative)


@pytest.fixture(scope="module")
def gateway(run, here, keys, service):
    document = {"issuers": [here.issuer_at(keys)], "services": [here.paidonce(service)], "cors": CORS}
    return here.start(run, document)


def access_control(answer) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in answer.headers.multi_items():
        if name.startswith("access-control-"):
            found.setdefault(name.removeprefix("access-control-"), []).append(value)
    return found


SIMPLE = {
    "allow-origin": [SHOP],
    "allow-credentials": ["true"],
    "expose-headers": ["ETag, Location, Retry-After, Idempotent-Replayed"],
}


def test_an_answer_to_an_allowed_origin(gateway, caller, parties, here):
    answer = caller.get(f"{gateway.url}/v1/me", headers={"Origin": SHOP} | here.bearing(parties.issuer.token()))
    assert answer.status_code == 200
    assert access_control(answer) == SIMPLE
    assert answer.headers["vary"] == "Accept, Origin"


def test_refusals_can_be_read_by_the_page_too(gateway, caller, parties, here):
    answers = [
        caller.get(f"{gateway.url}/v1/me", headers={"Origin": SHOP}),
        caller.get(f"{gateway.url}/nowhere", headers={"Origin": SHOP}),
        caller.post(
            f"{gateway.url}/v1/payments",
            headers={"Origin": SHOP} | here.bearing(parties.issuer.token()),
            content=b"x" * 70_000,
        ),
    ]
    assert [answer.status_code for answer in answers] == [401, 404, 413]
    assert all(access_control(answer) == SIMPLE for answer in answers)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://shop.example.evil", "http://shop.example", SHOP + "/", "*", ""]
)
def test_another_origin_gets_none_of_them(gateway, caller, parties, here, origin):
    headers = {"Origin": origin} | here.bearing(parties.issuer.token())
    answer = caller.get(f"{gateway.url}/v1/me", headers=headers)
    assert answer.status_code == 200
    assert access_control(answer) == {}
    assert "Origin" in answer.headers["vary"]


def test_no_origin(gateway, caller, parties, here):
    answer = caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.issuer.token()))
    assert access_control(answer) == {}


def preflight(caller, gateway, path="/v1/payments", *, origin=SHOP, method="POST", headers="authorization"):
    wanted = {"Access-Control-Request-Headers": headers} if headers else {}
    return caller.options(
        gateway.url + path, headers={"Origin": origin, "Access-Control-Request-Method": method} | wanted
    )


def test_a_preflight_needs_no_token_and_reaches_nobody(gateway, service, caller):
    before = len(service.seen)
    answer = preflight(caller, gateway, headers="Authorization, idempotency-key,content-type")
    assert answer.status_code == 204
    assert access_control(answer) == {
        "allow-origin": [SHOP],
        "allow-credentials": ["true"],
        "allow-methods": ["GET, POST, PATCH"],
        "allow-headers": ["Authorization, Idempotency-Key, If-Match, Content-Type"],
        "max-age": ["600"],
    }
    assert answer.headers["vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    assert len(service.seen) == before


@pytest.mark.parametrize(
    "asked",
    [
        {"origin": "https://evil.example"},
        {"method": "DELETE", "path": "/v1/customers/7"},
        {"method": "PATCH"},
        {"headers": "authorization, x-user-id"},
        {"path": "/nowhere"},
    ],
)
def test_a_preflight_for_more_gets_no_permission(gateway, caller, asked):
    answer = preflight(caller, gateway, **asked)
    assert access_control(answer) == {}


def test_options_without_a_preflights_headers_needs_a_token(gateway, caller):
    assert caller.options(f"{gateway.url}/v1/payments", headers={"Origin": SHOP}).status_code == 401
    assert caller.options(f"{gateway.url}/v1/payments").status_code == 401
