"""Who is at it right now? A lock on a file, which the kernel drops however its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path`, waiting for whoever has it."""
    descriptor = take_lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


def take_lock(path: Path, *, wait: bool = True) -> int:
    """Return a descriptor that holds the lock on `path` until it is closed; children do not inherit it.

    Raises:
        BlockingIOError: somebody has it, and we do not `wait`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
