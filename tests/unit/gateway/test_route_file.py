"""What does the route file refuse? Whatever would let a caller in who should not be, before any gateway runs."""

import pytest
from pydantic import ValidationError

from paidonce.app.errors import ConfigurationError
from paidonce.gateway.route_file import RouteFile, read

OURS = {"name": "paidonce", "prefix": "/", "policy": "paidonce", "upstreams": ["http://127.0.0.1:8080"]}
ROUTE = {"method": "GET", "path": "/reports/{id}"}
THEIRS = {
    "name": "reports",
    "prefix": "/reports",
    "upstreams": ["http://127.0.0.1:8091"],
    "audiences": ["reports"],
    "routes": [ROUTE],
}


def test_both_kinds_of_service() -> None:
    assert len(RouteFile.model_validate({"services": [OURS, THEIRS]}).services) == 2


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("lets every page act", {"cors": {"origins": ["*"], "credentials": True}}),
        ("belong together", {"gateway": {"tls_certificate": "/a.pem"}}),
        ("pattern", {"gateway": {"listen": "127.0.0.1:1; include /etc/passwd"}}),
        ("pattern", {"cors": {"origins": ["https://a.example'"]}}),
        ("two services with one name", {"services": [OURS, OURS | {"prefix": "/b"}]}),
        ("two services with one prefix", {"services": [OURS, OURS | {"name": "b"}]}),
        ("at least 1", {"services": []}),
        ("Extra inputs", {"serivces": []}),
    ],
)
def test_a_file_that_is_wrong(why, changes) -> None:
    with pytest.raises(ValidationError, match=why):
        RouteFile.model_validate({"services": [OURS]} | changes)


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("audiences are missing", {"audiences": None}),
        ("either policy", {"routes": []}),
        ("either policy", {"policy": "paidonce"}),
        ("not below /reports", {"routes": [ROUTE | {"path": "/reportsx/{id}"}]}),
        ("pattern", {"routes": [ROUTE | {"path": "/reports/*"}]}),
        ("pattern", {"routes": [ROUTE | {"path": "/reports/"}]}),
        ("pattern", {"prefix": "/reports/"}),
        ("pattern", {"prefix": "/a b"}),
        ("claims cannot be put into Authorization", {"claim_headers": {"Authorization": "sub"}}),
        ("claims cannot be put into Cookie", {"claim_headers": {"Cookie": "sub"}}),
        ("Input should be 'sub'", {"claim_headers": {"X-Email": "email"}}),
        ("pattern", {"claim_headers": {"X_User": "sub"}}),
        ("is no http://HOST:PORT", {"upstreams": ["http://127.0.0.1:8091/path"]}),
        ("is no http://HOST:PORT", {"upstreams": ["http://127.0.0.1"]}),
        ("all https or none", {"upstreams": ["http://a:1", "https://b:1"]}),
        ("upstream_tls and https", {"upstreams": ["https://a:1"]}),
    ],
)
def test_a_service_that_is_wrong(why, changes) -> None:
    with pytest.raises(ValidationError, match=why):
        RouteFile.model_validate({"services": [THEIRS | changes]})


@pytest.mark.parametrize("text", ["services = 1", "services = [", '[[services]]\nname = "a"'])
def test_the_message_names_the_file(tmp_path, text) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"routes\.toml: "):
        read(file)
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        read(tmp_path / "nowhere.toml")
