"""Where does NGINX with Lua come from? From Debian's packages: installed ones, or unpacked into a user's cache.

Nothing of the machine is changed: the packages are downloaded as any user may, and unpacked, not installed.
"""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.locks import locked

PACKAGES = ("nginx", "libnginx-mod-http-lua", "lua-cjson", "lua-luaossl", "lua-resty-core")
#: In the order in which nginx must load them.
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
#: Seconds for one step of apt; a package list has 10 MB.
STEP_S = 300.0
_INSTALLS = re.compile(r"^Inst (\S+) (?:\[[^]]*\] )?\((\S+) ", re.MULTILINE)


@dataclass(frozen=True)
class Nginx:
    """The program, and how it is started so that it finds its parts."""

    program: Path
    #: global directives; nothing where the machine's own configuration loads the modules
    directives: str
    environment: Mapping[str, str]


def find_nginx() -> Nginx:
    """Return nginx with its Lua; what is missing is unpacked into the user's cache, of two at once one waits.

    Raises:
        PackagesUnobtainableError: it cannot be had here; says why.
    """
    installed = _at(Path("/"))
    if installed is not None:
        return installed
    cache = platformdirs.user_cache_path("paidonce")
    folder = cache / _name()
    if _at(folder) is None:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "nginx-lock"):
            if _at(folder) is None:
                _fill(folder)
    found = _at(folder)
    if found is None:
        raise PackagesUnobtainableError(f"Debian's packages {', '.join(PACKAGES)} have other files than we know")
    return found


def _name() -> str:
    """The folder is named by the system whose libraries its programs were built for."""
    system = platform.freedesktop_os_release()
    return f"nginx-{system.get('ID', 'linux')}-{system.get('VERSION_ID', '0')}-{platform.machine()}"


def _at(root: Path) -> Nginx | None:
    """Return the nginx below `root`, if it is there with all of its parts."""
    program, modules = root / "usr/sbin/nginx", root / "usr/lib/nginx/modules"
    lua, native = root / "usr/share/lua/5.1", next(root.glob("usr/lib/*/lua/5.1"), None)
    wanted = [program, *(modules / name for name in MODULES), lua / "resty/core.lua", lua / "openssl/pkey.lua"]
    if native is None or not (native / "cjson.so").exists() or not all(path.is_file() for path in wanted):
        return None
    enabled = root == Path("/") and any(Path("/etc/nginx/modules-enabled").glob("*http-lua.conf"))
    directives = "" if enabled else "".join(f"load_module {modules / name};" for name in MODULES)
    if root == Path("/"):
        return Nginx(program, directives, {})
    environment = {
        "LD_LIBRARY_PATH": f"{native.parents[1]}:{root / 'lib' / native.parents[1].name}",
        "LUA_PATH": f"{lua}/?.lua;{lua}/?/init.lua;;",
        "LUA_CPATH": f"{native}/?.so;;",
    }
    return Nginx(program, directives, environment)


def _fill(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PackagesUnobtainableError(f"no apt-get here: NGINX comes from Debian's packages {', '.join(PACKAGES)}")
    # One fixed name: what a killed start left is overwritten by the next, and not collected.
    unfinished = folder.with_name("nginx-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        (unfinished / "root").mkdir(parents=True)
        for package in _downloaded(unfinished):
            _run(["dpkg-deb", "-x", str(package), str(unfinished / "root")], unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        (unfinished / "root").rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _downloaded(scratch: Path) -> list[Path]:
    """Return the packages' files, with those that they need and the machine has not; apt checks their signatures."""
    try:
        return _download(scratch, ())
    except PackagesUnobtainableError:
        # The machine's lists are missing or old: lists of our own, since its are not ours to change.
        (scratch / "lists/partial").mkdir(parents=True)
        own = ("-o", f"Dir::State::lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch / 'cache'}")
        (scratch / "cache/archives/partial").mkdir(parents=True)
        _run(["apt-get", *own, "-q", "update"], scratch)
        return _download(scratch, own)


def _download(scratch: Path, options: Sequence[str]) -> list[Path]:
    planned = _run(
        ["apt-get", *options, "-s", "-o", "Debug::NoLocking=1", "--no-install-recommends", "install", *PACKAGES],
        scratch,
    )
    wanted = [f"{name}={version}" for name, version in _INSTALLS.findall(planned)]
    _run(["apt-get", *options, "-q", "download", *wanted], scratch)
    return sorted(scratch.glob("*.deb"))


def _run(argv: Sequence[str], cwd: Path) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=STEP_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackagesUnobtainableError(f"{argv[0]}: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise PackagesUnobtainableError(
            f"NGINX comes from Debian's packages {', '.join(PACKAGES)}, and `{' '.join(argv[:2])} …` failed: {said}. "
            "Install them, or connect this machine to Debian's packages once"
        )
    return done.stdout


def main() -> None:
    """Say where NGINX is, or on stderr why it cannot be had here, with exit 1."""
    try:
        print(f"nginx: {find_nginx().program}")
    except PackagesUnobtainableError as error:
        sys.exit(f"nginx cannot be had here: {error}")


if __name__ == "__main__":
    main()
