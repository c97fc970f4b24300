"""Where does Debezium Server come from? By Maven coordinates into the user's cache, once (785 MB), checked by hash.

Another version: change COORDINATE, and put here the sums that `debezium_files` names.
"""

import hashlib
import shutil
import zipfile
from pathlib import Path

import platformdirs

from paidonce.devstack.errors import JarsUnobtainableError
from paidonce.devstack.locks import locked
from paidonce.devstack.maven import context, one_line, sha256

GROUP, NAME, VERSION = "io.debezium", "debezium-server-dist", "3.6.0.Final"
COORDINATE = f"{GROUP}:{NAME}:{VERSION}:zip"
#: Of the zip as it was published.
ZIP_SHA256 = "cdbd7fa76e2f8ffc9eb259a7f6eebecbdeac421f4a49fd13eee099cfe611f585"
#: Of what is kept of it: over the lines `SHA-256 NAME` of all files, sorted.
KEPT_SHA256 = "40514c1962774e3ad404ff4a51f744b55dc7d906372812957e7c6a6a3855b081"
TOP = "debezium-server/"
#: The server and its libraries; the other folders are connectors for other databases, and examples.
KEPT = ("lib/", f"{NAME}-{VERSION}-runner.jar")


def debezium_files() -> list[Path]:
    """Return the class path, fetched into the user's cache if it is not there; of two at once one waits.

    Raises:
        JarsUnobtainableError: it could not be fetched, or is not the pinned one; says what to do.
    """
    cache = platformdirs.user_cache_path("paidonce")
    folder = cache / f"debezium-{ZIP_SHA256[:12]}"
    if not _right(folder):
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock"):
            if not _right(folder):
                _fill(folder)
    return [folder / KEPT[1], *sorted((folder / "lib").iterdir())]


def _fill(folder: Path) -> None:
    # One fixed name: what a killed start left is overwritten by the next, and not collected.
    unfinished = folder.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        archive = _fetch(unfinished)
        if sha256(archive) != ZIP_SHA256:
            raise JarsUnobtainableError(f"{COORDINATE} is not the pinned one: its SHA-256 is {sha256(archive)}")
        _unpack(archive, unfinished / "kept")
        if not _right(unfinished / "kept"):
            raise JarsUnobtainableError(f"{COORDINATE}, unpacked, has the sum {_sum(unfinished / 'kept')}")
        shutil.rmtree(folder, ignore_errors=True)
        (unfinished / "kept").rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fetch(scratch: Path) -> Path:
    try:
        artifact = context(scratch).project(GROUP, NAME).at_version(VERSION).artifact(packaging="zip")
        return Path(artifact.resolve())
    except Exception as error:  # jgo raises whatever requests, the XML parser or it itself does
        raise JarsUnobtainableError(
            f"the first start fetches Debezium Server ({COORDINATE}, 785 MB) by Maven coordinates, and could not: "
            f"{one_line(error)}. Connect this machine once; nothing but `make test-cdc` and the peer of "
            "`paidonce bench relay` needs it"
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = entry.filename.removeprefix(TOP)
            if name.startswith(KEPT) and not entry.is_dir():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)


def _right(folder: Path) -> bool:
    return folder.is_dir() and _sum(folder) == KEPT_SHA256


def _sum(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{sha256(path)} {path.relative_to(folder)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
