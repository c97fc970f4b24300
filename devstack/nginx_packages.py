"""Where does NGINX with Lua come from? From Debian's packages: installed ones, or unpacked into a user's cache.

Nothing of the machine is changed: the packages are downloaded as any user may, and unpacked, not installed.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from paidonce.devstack import debian
from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.locks import locked

PACKAGES = ("nginx", "libnginx-mod-http-lua", "lua-cjson", "lua-luaossl", "lua-resty-core")
#: In the order in which nginx must load them.
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


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
    folder = cache / debian.folder_name("nginx")
    if _at(folder) is None:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "nginx-lock"):
            if _at(folder) is None:
                debian.unpack(PACKAGES, folder)
    found = _at(folder)
    if found is None:
        raise PackagesUnobtainableError(f"Debian's packages {', '.join(PACKAGES)} have other files than we know")
    return found


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


def main() -> None:
    """Say where NGINX is, or on stderr why it cannot be had here, with exit 1."""
    try:
        print(f"nginx: {find_nginx().program}")
    except PackagesUnobtainableError as error:
        sys.exit(f"nginx cannot be had here: {error}")


if __name__ == "__main__":
    main()
