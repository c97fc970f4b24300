"""What is written for NGINX? The parts that no running gateway would show."""

import json
import stat

import pytest

from paidonce.app.settings import Settings
from paidonce.gateway.nginx.render import configuration, render
from paidonce.gateway.plan import plan
from paidonce.gateway.problems import ALL
from paidonce.gateway.render import render as render_kind
from paidonce.gateway.route_file import RouteFile

OURS = {"name": "paidonce", "prefix": "/", "policy": "paidonce", "upstreams": ["http://127.0.0.1:8080"]}


def text(**document) -> str:
    return configuration(plan(RouteFile.model_validate({"services": [OURS]} | document), Settings()))


def test_the_folder(tmp_path) -> None:
    render(plan(RouteFile.model_validate({"services": [OURS]}), Settings(token_bytes_max=1_234)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "keys", "logs", "lua", "nginx.conf", "run"}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["token_bytes_max"] == 1_234
    assert config["problems"].keys() == ALL.keys()
    # A second time over the first: what is gone from the Lua must not stay.
    (tmp_path / "lua/paidonce/old.lua").touch()
    render_kind("nginx", None, tmp_path, Settings())
    assert not (tmp_path / "lua/paidonce/old.lua").exists()


@pytest.mark.parametrize(
    ("part", "document"),
    [
        ("set_real_ip_from 10.0.0.0/8;", {"gateway": {"trusted_proxies": ["10.0.0.0/8"]}}),
        ("real_ip_header X-Forwarded-For;", {"gateway": {"trusted_proxies": ["10.0.0.0/8"]}}),
        ("resolver 10.0.0.2;", {"gateway": {"resolvers": ["10.0.0.2"]}}),
        ("listen 127.0.0.1:1 ssl;", {"gateway": {"listen": "127.0.0.1:1", "tls_certificate": "/c", "tls_key": "/k"}}),
        ("limit_req zone=address burst=7 nodelay;", {"limits": {"address": {"requests_per_s": 3, "burst": 7}}}),
        ("rate=3r/s;", {"limits": {"address": {"requests_per_s": 3, "burst": 7}}}),
    ],
)
def test_what_stands_in_it_only_when_asked_for(part, document) -> None:
    assert part in text(**document)
    assert part not in text()


def test_nothing_of_the_template_is_left() -> None:
    assert "@{" not in text()
