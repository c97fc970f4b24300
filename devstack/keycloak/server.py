"""How does Keycloak start on this machine? In memory, with the realm of realm.json, on a loopback port of its own."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from paidonce.devstack.keycloak.files import command, keycloak_folder
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

REALM = "paidonce"
REALM_FILE = Path(__file__).with_name("realm.json")
ADMIN = "keycloak-admin"
#: What PAIDONCE_ISSUERS says about this realm, besides its address.
TERMS: Mapping[str, Any] = {
    "audiences": ["paidonce"],
    "tenants": ["acme", "globex"],
    "tenant_claim": "paidonce.tenant",
    "roles_claim": "realm_access.roles",
    "refund_limit_claim": "paidonce.refund_limit",
}
#: Seconds until it answers: 10 on a quiet machine.
START_S = 180.0
#: Seconds for one probe.
PROBE_S = 2.0


@dataclass(frozen=True)
class Keycloak:
    """A running Keycloak, and the secrets that were drawn for it."""

    url: str
    process: Process
    admin_password: str
    #: of each confidential client in the realm
    client_secret: str
    #: of each person in it
    person_password: str

    @property
    def issuer(self) -> str:
        """The `iss` of the realm's tokens."""
        return f"{self.url}/realms/{REALM}"

    @property
    def trusted(self) -> dict[str, Any]:
        """What stands in PAIDONCE_ISSUERS for it."""
        return {"issuer": self.issuer, **TERMS}


def start_keycloak(run: Run, *, name: str = "keycloak") -> Keycloak:
    """Start Keycloak and wait until its realm answers.

    Raises:
        JarsUnobtainableError: it is not there and cannot be fetched; says what to do.
        StackError: it ended; has its last words.
        TooLateError: it does not answer within START_S.
    """
    folder, home = keycloak_folder(), run.folder / name
    (home / "data" / "import").mkdir(mode=0o700, parents=True)
    # It looks for how it was put together where it keeps its data.
    for part in ("lib", "providers"):
        (home / part).symlink_to(folder / part)
    shutil.copy(REALM_FILE, home / "data" / "import")
    url = f"http://{LOOPBACK}:{free_port()}"
    admin, client, person = (secrets.token_urlsafe(18) for _ in range(3))
    drawn = {"CLIENT_SECRET": client, "PERSON_PASSWORD": person}
    drawn |= {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": admin}
    process = run.start(Command(name, command(folder, home, _arguments(url)), home, run.environment(drawn)))
    found = Keycloak(url, process, admin, client, person)
    until(lambda: _answers(found), within_s=START_S, what="Keycloak to answer")
    return found


def _arguments(url: str) -> list[str]:
    port = url.rpartition(":")[2]
    return [
        "start",
        "--optimized",
        "--import-realm",
        f"--hostname={url}",
        "--http-enabled=true",
        f"--http-host={LOOPBACK}",
        f"--http-port={port}",
    ]


def _answers(keycloak: Keycloak) -> bool:
    keycloak.process.check()
    try:
        return httpx.get(keycloak.issuer, trust_env=False, timeout=PROBE_S).is_success
    except httpx.TransportError:
        return False
