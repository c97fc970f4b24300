"""What is written for Envoy? The parts that no running gateway would show."""

import json

import pytest

from paidonce.app.settings import Settings
from paidonce.gateway.envoy.render import bootstrap, render
from paidonce.gateway.plan import plan
from paidonce.gateway.problems import ALL
from paidonce.gateway.render import render as render_kind
from paidonce.gateway.route_file import RouteFile

OURS = {"name": "paidonce", "prefix": "/", "policy": "paidonce", "upstreams": ["http://127.0.0.1:8080"]}
SETTINGS = Settings(jwks_url="http://127.0.0.1:1/jwks")


def planned(service=OURS, **document):
    return plan(RouteFile.model_validate({"services": [service]} | document), SETTINGS)


def text(folder, service=OURS, **document) -> str:
    return json.dumps(bootstrap(planned(service, **document), folder))


def test_the_folder(tmp_path) -> None:
    render(planned(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "envoy.json", "logs", "lua", "run"}
    assert json.loads((tmp_path / "config.json").read_bytes())["problems"].keys() == ALL.keys()
    # A second time over the first: what is gone from the Lua must not stay.
    (tmp_path / "lua/paidonce/old.lua").touch()
    render_kind("envoy", None, tmp_path, SETTINGS)
    assert not (tmp_path / "lua/paidonce/old.lua").exists()


@pytest.mark.parametrize(
    ("part", "document"),
    [
        ("xff_trusted_cidrs", {"gateway": {"trusted_proxies": ["10.0.0.0/8"]}}),
        ("DownstreamTlsContext", {"gateway": {"tls_certificate": "/c", "tls_key": "/k"}}),
        ('"max_tokens": 8', {"limits": {"address": {"requests_per_s": 3, "burst": 7}}}),
        ('"fill_interval": "60s"', {"limits": {"subject": {"requests": 5, "window_s": 60}}}),
        ("/stats/prometheus", {"gateway": {"metrics": "127.0.0.1:9"}}),
        ("idempotency-key", {"service": OURS | {"repeat_keyed": True}}),
    ],
)
def test_what_stands_in_it_only_when_asked_for(tmp_path, part, document) -> None:
    assert part in text(tmp_path, **document)
    assert part not in text(tmp_path)


def test_no_post_without_a_key_is_repeated_when_no_answer_came(tmp_path) -> None:
    (host,) = bootstrap(planned(OURS | {"repeat_keyed": True}), tmp_path)["static_resources"]["listeners"][0][
        "filter_chains"
    ][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    to_services = [route for route in host["routes"] if "route" in route]
    repeated = [one for one in to_services if "reset" in one["route"]["retry_policy"]["retry_on"].split(",")]
    conditions = [[header["name"] for header in route["match"]["headers"]][1:] for route in repeated]
    assert conditions == [[":method"], [":method", "idempotency-key"]]
    methods = [route["match"]["headers"][1]["string_match"] for route in repeated]
    assert methods == [{"safe_regex": {"regex": "GET|HEAD|OPTIONS|PUT|DELETE"}}, {"exact": "POST"}]
