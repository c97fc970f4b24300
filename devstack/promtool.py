"""Where does promtool come from, which checks alert rules? The machine's own, or Debian's package `prometheus`."""

import shutil
import sys
from pathlib import Path

import platformdirs

from paidonce.devstack import debian
from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.locks import locked

PACKAGE = "prometheus"


def find_promtool() -> Path:
    """Return promtool; one that is missing is unpacked into the user's cache, of two at once one waits.

    Raises:
        PackagesUnobtainableError: it cannot be had here; says why.
    """
    installed = shutil.which("promtool")
    if installed is not None:
        return Path(installed)
    cache = platformdirs.user_cache_path("paidonce")
    folder = cache / debian.folder_name(PACKAGE)
    program = folder / "usr/bin/promtool"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "prometheus-lock"):
            if not program.is_file():
                debian.unpack([PACKAGE], folder)
    if not program.is_file():
        raise PackagesUnobtainableError(f"Debian's package {PACKAGE} has no usr/bin/promtool any more")
    return program


if __name__ == "__main__":
    try:
        print(f"promtool: {find_promtool()}")
    except PackagesUnobtainableError as error:
        sys.exit(f"make test-alerts cannot run here: {error}")
