"""How do programs of Debian's packages come here, and the machine stays as it is? Downloaded by any user, and unpacked.

Not installed: the files are in a folder of the user's cache, so whoever starts a program names its libraries.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from paidonce.devstack.errors import PackagesUnobtainableError

#: Seconds for one step of apt; a package list has 10 MB.
STEP_S = 300.0
_INSTALLS = re.compile(r"^Inst (\S+) (?:\[[^]]*\] )?\((\S+) ", re.MULTILINE)


def folder_name(program: str) -> str:
    """Return the name of the cache's folder for `program`: with the system whose libraries it was built for."""
    system = platform.freedesktop_os_release()
    return f"{program}-{system.get('ID', 'linux')}-{system.get('VERSION_ID', '0')}-{platform.machine()}"


def unpack(packages: Sequence[str], folder: Path) -> None:
    """Put the files of `packages`, and of those that they need and the machine has not, into `folder`.

    Raises:
        PackagesUnobtainableError: they cannot be had here; says why.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PackagesUnobtainableError(f"no apt-get here, and it comes from Debian's packages {', '.join(packages)}")
    # One fixed name: what a killed start left is overwritten by the next, and not collected.
    unfinished = folder.with_name(f"{packages[0]}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        (unfinished / "root").mkdir(parents=True)
        for package in _downloaded(packages, unfinished):
            _run(packages, ["dpkg-deb", "-x", str(package), str(unfinished / "root")], unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        (unfinished / "root").rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _downloaded(packages: Sequence[str], scratch: Path) -> list[Path]:
    """Return the packages' files; apt checks their signatures."""
    try:
        return _download(packages, scratch, ())
    except PackagesUnobtainableError:
        # The machine's lists are missing or old: lists of our own, since its are not ours to change.
        (scratch / "lists/partial").mkdir(parents=True)
        own = ("-o", f"Dir::State::lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch / 'cache'}")
        (scratch / "cache/archives/partial").mkdir(parents=True)
        _run(packages, ["apt-get", *own, "-q", "update"], scratch)
        return _download(packages, scratch, own)


def _download(packages: Sequence[str], scratch: Path, options: Sequence[str]) -> list[Path]:
    planned = _run(
        packages,
        ["apt-get", *options, "-s", "-o", "Debug::NoLocking=1", "--no-install-recommends", "install", *packages],
        scratch,
    )
    wanted = [f"{name}={version}" for name, version in _INSTALLS.findall(planned)]
    _run(packages, ["apt-get", *options, "-q", "download", *wanted], scratch)
    return sorted(scratch.glob("*.deb"))


def _run(packages: Sequence[str], argv: Sequence[str], cwd: Path) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=STEP_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackagesUnobtainableError(f"{argv[0]}: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise PackagesUnobtainableError(
            f"`{' '.join(argv[:2])} …` failed: {said}. Install Debian's packages {', '.join(packages)}, or connect "
            "this machine to them once"
        )
    return done.stdout
