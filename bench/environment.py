"""Where do peers run? In an environment of their own, so that they bring nothing into ours."""

import subprocess
import sys
from pathlib import Path

from paidonce.bench.errors import BenchError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "requirements" / "bench.txt"


def python() -> Path:
    """Return the interpreter of the peers' environment, made first if need be (a minute, once).

    Raises:
        BenchError: this is no checkout, or the packages could not be installed.
    """
    if not REQUIREMENTS.is_file():
        raise BenchError(f"{REQUIREMENTS} is missing: benchmarks run from a checkout")
    found, ready = FOLDER / "bin" / "python", FOLDER / ".ready"
    if not ready.is_file() or ready.stat().st_mtime < REQUIREMENTS.stat().st_mtime:
        _run([sys.executable, "-m", "venv", "--clear", str(FOLDER)])
        _run([str(found), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)])
        ready.touch()
    return found


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(argv)} failed:\n{done.stderr[-2_000:]}")
