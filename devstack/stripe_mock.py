"""Where does stripe-mock come from, Stripe's own checker of requests, and how does it start? Built by Go, once.

It knows every parameter of every call from Stripe's description of its API, refuses what is not there, and keeps no
state: what it answers is made up. So it judges our requests, and the simulator our conduct. Its description may be
some months older than the version of Stripe's API that our package names.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs

from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.locks import locked
from paidonce.devstack.ports import LOOPBACK, free_port, listening
from paidonce.devstack.processes import Command
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Go checks the module's hash by its checksum database.
VERSION = "v0.203.0"
_MODULE = f"github.com/stripe/stripe-mock@{VERSION}"
#: Seconds to download and build it, some 10 where Go's caches are warm.
BUILD_S = 300.0
#: Seconds until it listens: it reads a description of some 10 MB first.
START_S = 60.0


def find_stripe_mock() -> Path:
    """Return the program; it is built into the user's cache the first time, of two at once one waits.

    Raises:
        PackagesUnobtainableError: it cannot be had here; says why.
    """
    cache = platformdirs.user_cache_path("paidonce")
    program = cache / f"stripe-mock-{VERSION}" / "stripe-mock"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "stripe-mock-lock"):
            if not program.is_file():
                _build(program)
    return program


def start_stripe_mock(run: Run) -> str:
    """Start it; return its URL once it answers. Raises as `find_stripe_mock` does, or StackError."""
    port = free_port()
    argv = [str(find_stripe_mock()), "-http-addr", f"{LOOPBACK}:{port}"]
    process = run.start(Command("stripe-mock", argv, run.folder, run.environment({})))

    def answers() -> bool:
        process.check()
        return listening(port)

    until(answers, within_s=START_S, what="stripe-mock to listen")
    return f"http://{LOOPBACK}:{port}"


def _build(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise PackagesUnobtainableError(
            "stripe-mock is written in Go, which is not installed: install Go 1.22 or newer"
        )
    built = program.parent.with_name(program.parent.name + "-new")
    shutil.rmtree(built, ignore_errors=True)
    try:
        environment = os.environ | {"GOBIN": str(built), "GOFLAGS": "-mod=mod"}
        subprocess.run([go, "install", _MODULE], env=environment, check=True, timeout=BUILD_S, capture_output=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip()[-500:]
        raise PackagesUnobtainableError(f"go install {_MODULE} failed: {said or error}") from error
    built.rename(program.parent)


def main() -> None:
    """Say where stripe-mock is, or on stderr why it cannot be had here, with exit 1."""
    try:
        print(f"stripe-mock: {find_stripe_mock()}")
    except PackagesUnobtainableError as error:
        sys.exit(f"stripe-mock cannot be had here: {error}")


if __name__ == "__main__":
    main()
