"""Which `paidonce up` runs here, and where is its issuer? It leaves a file in its run's folder."""

import json
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

import httpx

from paidonce.app.settings import Settings
from paidonce.devstack.errors import StackError
from paidonce.devstack.members import issuer_folder
from paidonce.devstack.runs import live_folders
from paidonce.devstack.tokens import TokenRefusedError, fetch_token

#: In the run's folder, once everything is ready.
STATE = "up.json"


def running_issuer() -> str:
    """Return the issuer's URL of the newest `paidonce up` that runs; raises StackError when none does."""
    for folder in live_folders():
        if (folder / STATE).exists():
            return str(json.loads((folder / STATE).read_text())["issuer"])
    raise StackError("no `paidonce up` runs here: start it, or name an issuer by PAIDONCE_ISSUER")


def running_issuer_folder() -> Path:
    """Return the folder of that issuer's keys; raises StackError when none runs."""
    for folder in live_folders():
        if (folder / STATE).exists():
            return issuer_folder(folder)
    raise StackError("no `paidonce up` runs here: start it, or name the folder of an issuer by PAIDONCE_ISSUER_FOLDER")


def write_private(file: Path, content: object) -> None:
    """Write JSON that only we may read, whole or not at all."""
    write_private_text(file, json.dumps(content, indent=2))


def write_private_text(file: Path, text: str) -> None:
    """Write text that only we may read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "w") as unfinished:
            unfinished.write(text)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def token(*, tenant: str, sub: str | None, scopes: Collection[str], roles: Collection[str], ttl: int | None) -> str:
    """Return a token of the issuer that PAIDONCE_ISSUER names, or else of the running `paidonce up`.

    Raises:
        StackError: there is none, it does not answer, or it gives no such token.
    """
    settings = Settings()
    url = settings.issuer if "issuer" in settings.model_fields_set else running_issuer()
    try:
        return fetch_token(url, tenant=tenant, sub=sub, scopes=scopes, roles=roles, ttl=ttl)
    except (TokenRefusedError, httpx.HTTPError) as error:
        raise StackError(f"no token from {url}: {error}") from error
