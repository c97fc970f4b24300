"""How does a whole server come as a zip by its Maven coordinates? Once, into the user's cache, checked by hash.

What a first start fetches is held against two sums: that of the zip as it was published, and that of what is kept of
it. The second is looked at with every start, so that a damaged cache is fetched anew instead of started.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from paidonce.devstack.errors import JarsUnobtainableError
from paidonce.devstack.locks import locked
from paidonce.devstack.maven import context, one_line, sha256


@dataclass(frozen=True)
class Distribution:
    """One server, in one version."""

    #: for messages, and the folder in the cache
    name: str
    group: str
    artifact: str
    version: str
    #: of the zip as it was published
    zip_sha256: str
    #: over the lines `SHA-256 NAME` of all files that are kept, sorted
    kept_sha256: str
    #: the folder in the zip that everything is in
    top: str
    #: what is kept: beginnings of paths below `top`
    kept: tuple[str, ...]
    #: MB of the zip
    size_mb: int
    #: who needs it, at the end of the message that says that it could not be fetched
    needed_by: str
    #: what `finish` writes, a beginning of paths: it has no sum that is known before; empty: nothing
    made: str = ""

    @property
    def coordinate(self) -> str:
        """How Maven calls it."""
        return f"{self.group}:{self.artifact}:{self.version}:zip"


def folder_of(wanted: Distribution, finish: Callable[[Path], None] = lambda _folder: None) -> Path:
    """Return the folder with the files, fetched into the user's cache if it is not there; of two at once one waits.

    `finish` is called once, with the files unpacked and checked, before anybody else sees them.

    Raises:
        JarsUnobtainableError: they could not be fetched, or are not the pinned ones; says what to do.
    """
    cache = platformdirs.user_cache_path("paidonce")
    folder = cache / f"{wanted.name.lower()}-{wanted.zip_sha256[:12]}"
    if not _right(wanted, folder):
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock"):
            if not _right(wanted, folder):
                _fill(wanted, folder, finish)
    return folder


def kept_sum(wanted: Distribution, folder: Path) -> str:
    """Return the sum over what is kept of it in `folder`."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    ours = {name: path for name, path in files.items() if not (wanted.made and name.startswith(wanted.made))}
    lines = "".join(f"{sha256(path)} {name}\n" for name, path in ours.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _fill(wanted: Distribution, folder: Path, finish: Callable[[Path], None]) -> None:
    # One fixed name: what a killed start left is overwritten by the next, and not collected.
    unfinished = folder.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        archive = fetch(wanted, unfinished)
        if sha256(archive) != wanted.zip_sha256:
            raise JarsUnobtainableError(f"{wanted.coordinate} is not the pinned one: its SHA-256 is {sha256(archive)}")
        unpack(wanted, archive, unfinished / "kept")
        if not _right(wanted, unfinished / "kept"):
            found = kept_sum(wanted, unfinished / "kept")
            raise JarsUnobtainableError(f"{wanted.coordinate}, unpacked, has the sum {found}")
        finish(unfinished / "kept")
        shutil.rmtree(folder, ignore_errors=True)
        (unfinished / "kept").rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def fetch(wanted: Distribution, scratch: Path) -> Path:
    """Return the zip, downloaded into `scratch`; raises JarsUnobtainableError."""
    try:
        artifact = context(scratch).project(wanted.group, wanted.artifact).at_version(wanted.version)
        return Path(artifact.artifact(packaging="zip").resolve())
    except Exception as error:  # jgo raises whatever requests, the XML parser or it itself does
        raise JarsUnobtainableError(
            f"the first start fetches {wanted.name} ({wanted.coordinate}, {wanted.size_mb} MB) by Maven coordinates, "
            f"and could not: {one_line(error)}. Connect this machine once; {wanted.needed_by}"
        ) from error


def unpack(wanted: Distribution, archive: Path, folder: Path) -> None:
    """Write what is kept of the zip into `folder`."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = entry.filename.removeprefix(wanted.top)
            if name.startswith(wanted.kept) and not entry.is_dir():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)


def _right(wanted: Distribution, folder: Path) -> bool:
    return folder.is_dir() and kept_sum(wanted, folder) == wanted.kept_sha256
