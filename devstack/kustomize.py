"""Where does kustomize come from, which puts manifests together? The machine's own, or Go builds it, once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs

from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.locks import locked

#: The newest that Go 1.26 builds.
VERSION = "v5.8.2"
MODULE = "sigs.k8s.io/kustomize/kustomize/v5"
#: Seconds; two cores take two minutes for a first build.
BUILD_S = 900.0


def find_kustomize() -> Path:
    """Return kustomize; one that is missing is built into the user's cache, of two at once one waits.

    Raises:
        PackagesUnobtainableError: it cannot be had here; says why.
    """
    installed = shutil.which("kustomize")
    if installed is not None:
        return Path(installed)
    cache = platformdirs.user_cache_path("paidonce")
    program = cache / f"kustomize-{VERSION}" / "kustomize"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "kustomize-lock"):
            if not program.is_file():
                _build(program.parent)
    return program


def _build(folder: Path) -> None:
    if shutil.which("go") is None:
        raise PackagesUnobtainableError("there is neither kustomize nor Go (which builds it): install one of them")
    try:
        done = subprocess.run(
            ["go", "install", f"{MODULE}@{VERSION}"],
            env=os.environ | {"GOBIN": str(folder)},
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackagesUnobtainableError(f"building kustomize took longer than {BUILD_S:g} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split())[-600:]
        raise PackagesUnobtainableError(f"kustomize was not built: {said}. Install kustomize itself")


if __name__ == "__main__":
    try:
        print(f"kustomize: {find_kustomize()}")
    except PackagesUnobtainableError as error:
        sys.exit(f"make test-deploy cannot run here: {error}")
