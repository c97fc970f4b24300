"""Where does a browser come from? The machine's own Chromium, or the one that Playwright installs for a user."""

import shutil
import subprocess
import sys
from pathlib import Path

from paidonce.devstack.errors import PackagesUnobtainableError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Seconds for Playwright's download of about 100 MB.
INSTALL_S = 600.0


def find_chromium() -> Path | None:
    """Return the machine's own; None when there is none, and Playwright's is to be tried."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


def provide() -> None:
    """Install Playwright's when the machine has none.

    Raises:
        PackagesUnobtainableError: it cannot be had here; says why, and what to do.
    """
    if find_chromium() is not None:
        return
    command = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise PackagesUnobtainableError(f"no browser: {' '.join(command[2:])} took too long; {ADVICE}") from None
    if done.returncode:
        raise PackagesUnobtainableError(f"no browser: {_why(done.stdout + done.stderr)}; {ADVICE}")


def _why(said: str) -> str:
    """Return the first line that names an error: a script's stack comes after it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return next(iter(named or lines), "the download failed and did not say why")


ADVICE = "install Chromium by the machine's own means, on Debian: apt-get install chromium"


if __name__ == "__main__":
    try:
        provide()
    except PackagesUnobtainableError as error:
        sys.exit(f"The tests that need a browser cannot run here: {error}")
