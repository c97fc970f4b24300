"""docker-compose.yml, as far as it can be held to without a Docker engine, and the secrets that it draws."""

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from paidonce.app.settings import Settings
from paidonce.devstack.compose_secrets import HOSTS, draw
from paidonce.devstack.issuer.configuration import IssuerSettings
from paidonce.devstack.keycloak.files import VERSION
from paidonce.devstack.keycloak.server import REALM_FILE, TERMS
from paidonce.devstack.provider.options import Options
from paidonce.gateway.render import KINDS, render
from paidonce.gateway.route_file import read

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"secrets", "migrate"}
GATEWAYS = sorted(name for name in SERVICES if name.startswith("gateway-"))
ROUTES = "./gateway/compose.toml:/etc/paidonce/routes.toml:ro"


def test_every_part_of_the_pipeline_is_there() -> None:
    assert {"postgres", "kafka", "valkey", "issuer", "provider", "api", "relay", "effects", "cleaner"} <= set(SERVICES)
    assert {"consumer-charges", "consumer-ledger", "consumer-notifications"} <= set(SERVICES)
    assert SERVICES["api"]["deploy"]["replicas"] == SERVICES["relay"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_what_stays_up_is_watched_and_started_again(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_every_variable_is_a_setting_of_its_process() -> None:
    known = {f"PAIDONCE_{field.upper()}" for field in Settings.model_fields} | {"PAIDONCE_SECRETS_DIR"}
    known |= {f"PAIDONCE_ISSUER_{field.upper()}" for field in IssuerSettings.model_fields}
    known |= {f"PAIDONCE_SIMULATOR_{field.upper()}" for field in Options.model_fields}
    used = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert {name for name in used if name.startswith("PAIDONCE_")} - known == set()


def test_every_package_is_in_what_the_image_is_built_from() -> None:
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    assert set(folders) <= set(re.findall(r"^!([\w.]+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"whsec_|://\w+:\w+@|PASSWORD: |SECRET: ", text)


def test_secrets_are_drawn_once_for_their_owner_alone(tmp_path: Path) -> None:
    draw(tmp_path)
    drawn = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    draw(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == drawn
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert drawn["postgres_password"] in drawn["pgpass"]


def test_each_service_that_speaks_tls_has_a_certificate_in_its_name(tmp_path: Path) -> None:
    draw(tmp_path)
    authority = certificate(tmp_path, "ca")
    for name, hosts in HOSTS.items():
        certificate(tmp_path, name).verify_directly_issued_by(authority)
        said = certificate(tmp_path, name).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert tuple(said.value.get_values_for_type(x509.DNSName)) == hosts
        assert {host for host in hosts if host != "localhost"} <= set(SERVICES)


def test_a_certificate_that_is_missing_changes_all_of_them_and_no_password(tmp_path: Path) -> None:
    draw(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "keycloak.pem").unlink()
    draw(tmp_path)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"ca.pem"} | {f"{name}.{kind}" for name in HOSTS for kind in ("pem", "key")}
    certificate(tmp_path, "issuer").verify_directly_issued_by(certificate(tmp_path, "ca"))


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def test_what_starts_without_a_profile_needs_nothing_that_has_one() -> None:
    for name, service in SERVICES.items():
        for needed in service.get("depends_on", {}):
            assert set(SERVICES[needed].get("profiles", [])) <= set(service.get("profiles", [])), f"{name}: {needed}"


def test_the_image_of_every_gateway_is_in_the_dockerfile() -> None:
    assert set(KINDS) <= {name.removeprefix("gateway-") for name in GATEWAYS}
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= set(stages)


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_stands_before_the_api_and_the_api_makes_room_for_it(name: str) -> None:
    assert ROUTES in SERVICES[name]["volumes"]
    routes = read(ROOT / "gateway/compose.toml")
    assert routes.gateway.tls_certificate == "/run/paidonce/gateway.pem"
    assert [service.upstreams for service in routes.services] == [("http://api:8080",)]
    port = routes.gateway.listen.rpartition(":")[2]
    (published,) = SERVICES[name]["ports"]
    assert published.startswith("127.0.0.1:")
    assert published.endswith(f":{port}")
    assert port in SERVICES[name]["healthcheck"]["test"][-1]
    added = re.search(r"PAIDONCE_API_GATEWAY_HEAD_BYTES=(\d+)", (ROOT / "docs/gateways.md").read_text())
    assert added is not None
    assert SERVICES["api"]["environment"]["PAIDONCE_API_GATEWAY_HEAD_BYTES"] == added[1]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_its_configuration_can_be_written(kind: str, tmp_path: Path) -> None:
    told = SERVICES[f"gateway-{kind}"]["environment"]
    settings = Settings(issuer=told["PAIDONCE_ISSUER"], jwks_url=told["PAIDONCE_JWKS_URL"])
    render(kind, ROOT / "gateway/compose.toml", tmp_path, settings)
    assert list(tmp_path.glob(f"{kind}.*"))


def test_keycloak_is_the_one_that_is_tested() -> None:
    assert SERVICES["keycloak"]["image"].endswith(f":{VERSION}")
    assert any(f"/{REALM_FILE.relative_to(ROOT)}:" in volume for volume in SERVICES["keycloak"]["volumes"])
    shown = re.search(r"PAIDONCE_ISSUERS='(.+?)'", (ROOT / "docs/keycloak.md").read_text(), re.DOTALL)
    assert shown is not None
    for issuers in (shown[1], SERVICES["api-keycloak"]["environment"]["PAIDONCE_ISSUERS"]):
        (issuer,) = json.loads(issuers)
        assert {name: value for name, value in issuer.items() if name != "issuer"} == dict(TERMS)
        assert issuer["issuer"].endswith(f"/realms/{json.loads(REALM_FILE.read_text())['realm']}")
