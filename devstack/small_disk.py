"""How does a folder get a small file system of its own? In memory, by root, and gone with its run."""

import subprocess
from pathlib import Path

import psutil

from paidonce.devstack.errors import StackError


class NoDiskError(StackError):
    """A file system cannot be mounted here; the message says why."""


def mount(folder: Path, megabytes: int) -> None:
    """Mount an empty one of that size over the folder; raises NoDiskError."""
    argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "paidonce", str(folder)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoDiskError(f"no file system of its own: {error}") from error
    if done.returncode:
        raise NoDiskError(f"no file system of its own, which only root may mount: {done.stderr.strip()}")


def unmount_below(folder: Path) -> None:
    """Unmount whatever is mounted somewhere in the folder."""
    for one in psutil.disk_partitions(all=True):
        if folder in Path(one.mountpoint).parents:
            # Lazily: a server that has just been killed may still be letting go.
            subprocess.run(["umount", "--lazy", one.mountpoint], capture_output=True, check=False)
