"""Where do the jars of Apache Kafka come from? A user's cache, filled once by `jgo`, checked by hash at each start."""

import hashlib
import os
import shutil
from pathlib import Path

import platformdirs

from paidonce.devstack.errors import JarsUnobtainableError
from paidonce.devstack.kafka_pinned import COORDINATE, SHA256
from paidonce.devstack.locks import locked
from paidonce.devstack.maven import context, one_line, sha256


def kafka_jars() -> list[Path]:
    """Return the jars, fetched into the user's cache if they are not there; of two at once one waits.

    Raises:
        JarsUnobtainableError: they could not be fetched, or are not the pinned ones; says what to do.
    """
    cache = platformdirs.user_cache_path("paidonce")
    folder = cache / _name()
    if not folder.is_dir() or _wrong(folder):
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock"):
            if not folder.is_dir() or _wrong(folder):
                _fill(folder)
    return [folder / name for name in sorted(SHA256)]


def _name() -> str:
    """The folder is named by what is in it, so another version never meets this one's jars."""
    return "kafka-" + hashlib.sha256(repr((COORDINATE, SHA256)).encode()).hexdigest()[:12]


def _fill(folder: Path) -> None:
    # One fixed name: what a killed start left is overwritten by the next, and not collected.
    unfinished = folder.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        fetched = unfinished / "jars"
        fetched.mkdir(parents=True)
        for jar in _fetch(unfinished):
            shutil.copy(jar, fetched)
        wrong = _wrong(fetched)
        if wrong:
            raise JarsUnobtainableError(f"the jars of {COORDINATE} are not the pinned ones: {', '.join(wrong)}")
        shutil.rmtree(folder, ignore_errors=True)
        fetched.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fetch(scratch: Path) -> list[Path]:
    maven = context(scratch)
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415  after the trust store

    builder = EnvironmentBuilder(context=maven, cache_dir=scratch / "cache", link_strategy=LinkStrategy.HARD)
    try:
        environment = builder.from_endpoint(endpoint=COORDINATE)
        return [jar for kind in ("jars", "modules") for jar in (environment.path / kind).glob("*.jar")]
    except Exception as error:  # jgo raises whatever requests, the XML parser or it itself does
        raise JarsUnobtainableError(
            f"the first start fetches Apache Kafka ({COORDINATE}) by Maven coordinates, and could not: "
            f"{one_line(error)}. Connect this machine once, or name a running broker: "
            "PAIDONCE_KAFKA=host:port"
        ) from error


def _wrong(folder: Path) -> list[str]:
    """Return the names of files that are missing, too many, or have another hash."""
    present = {entry.name for entry in os.scandir(folder)}
    return sorted(
        (present ^ SHA256.keys()) | {name for name in present & SHA256.keys() if sha256(folder / name) != SHA256[name]}
    )
