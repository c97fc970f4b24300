"""Resolve the pinned requirement files from pyproject.toml: `make lock`.

Each file names exact versions with hashes for every platform and Python that we support,
and no index, so that it installs from whatever index the reader's pip uses.
"""

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

HERE = Path(__file__).parent
#: file -> the extras of pyproject.toml that it holds
FILES: dict[str, list[str]] = {
    "runtime": ["issuer", "stripe", "tracing", "console"],
    "containers": ["containers"],
    "dev": ["stack", "issuer", "test", "lint", "librdkafka", "stripe", "tracing"],
}


def lock(name: str, sources: list[str], extras: list[str]) -> None:
    """Write requirements/<name>.txt; raises CalledProcessError when nothing fits."""
    command = [
        find_uv_bin(), "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11",
        "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--output-file", str(HERE / f"{name}.txt"),
        *(f"--extra={extra}" for extra in extras),
        *sources,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=HERE.parent)


if __name__ == "__main__":
    for name, extras in FILES.items():
        lock(name, ["pyproject.toml"], extras)
    for name in ("bench", "gateway", "page", "deploy"):
        lock(name, [f"requirements/{name}.in"], [])
    sys.exit(0)
