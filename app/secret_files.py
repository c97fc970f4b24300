"""Where are the secrets that are files? In PAIDONCE_SECRETS_DIR, one a file, with the variable's name.

So Kubernetes and Docker mount them. White space around the content, as the newline at a file's end, does not count.
"""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from paidonce.app.errors import ConfigurationError

VARIABLE = "PAIDONCE_SECRETS_DIR"
PREFIX = "PAIDONCE_"
#: Read from the same folder by the development issuer, which has settings of its own.
OTHERS_PREFIX = "PAIDONCE_ISSUER_"


def folder() -> Path | None:
    """Return the folder; None where nobody named one.

    Raises:
        ConfigurationError: there is no such folder, or a file in it is closed to us: a default would take its place.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    found = Path(named)
    if not found.is_dir():
        raise ConfigurationError(f"{VARIABLE} ({named}) is no folder: mount the secrets there, or unset it")
    for file in files(found):
        if not os.access(file, os.R_OK):
            raise ConfigurationError(
                f"{file} is closed to user {os.geteuid()}: give its group or user the right to read"
            )
    return found


def files(within: Path) -> list[Path]:
    """Return the files of secrets, by name; what a mount needs for itself is none."""
    return sorted(file for file in within.iterdir() if file.name.upper().startswith(PREFIX) and file.is_file())


def faults(within: Path, known: Collection[str]) -> list[str]:
    """Return what is wrong with the files, each with what to do; `known` are the variables that there are."""
    found = []
    for file in files(within):
        name = file.name.upper()
        if name not in known and not name.startswith(OTHERS_PREFIX):
            found.append(f"{file} is no setting, so nobody reads it: mend its name")
        elif file.stat().st_mode & stat.S_IWOTH:
            found.append(f"{file} can be written by everybody: chmod o-w")
        elif not file.read_text().strip():
            found.append(f"{file} is empty: write the secret into it, or remove it")
    return found
