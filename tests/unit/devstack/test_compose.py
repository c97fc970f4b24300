"""docker-compose.yml, as far as it can be held to without a Docker engine, and the secrets that it draws."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from paidonce.app.settings import Settings
from paidonce.devstack.compose_secrets import draw
from paidonce.devstack.issuer.configuration import IssuerSettings
from paidonce.devstack.provider.options import Options

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"secrets", "migrate"}


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


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"whsec_|://\w+:\w+@|PASSWORD: |SECRET: ", text)


def test_secrets_are_drawn_once_for_their_owner_alone(tmp_path: Path) -> None:
    draw(tmp_path)
    drawn = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    draw(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == drawn
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    authority = x509.load_pem_x509_certificate(drawn["ca.pem"])
    x509.load_pem_x509_certificate(drawn["issuer.pem"]).verify_directly_issued_by(authority)
    assert drawn["postgres_password"] in drawn["pgpass"]
