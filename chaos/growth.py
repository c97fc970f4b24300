"""What do the processes hold that no fault stops? Looked at now and then, JSON lines in `sizes.jsonl`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread
from time import time

import orjson
import psutil

from paidonce.chaos.facts import Size
from paidonce.chaos.history import lines
from paidonce.devstack.standing import Standing

FILE = "sizes.jsonl"
#: Seconds between two looks: 180 in half an hour, and no load.
LOOK_EVERY_S = 10.0


@contextmanager
def watched(stack: Standing, names: Sequence[str], folder: Path, *, every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """Note every `every_s` seconds what these processes hold, while the block lasts."""
    ended = Event()

    def watch() -> None:
        with (folder / FILE).open("ab", buffering=0) as file:
            while not ended.wait(every_s):
                for size in _look(stack, names):
                    file.write(orjson.dumps(asdict(size)) + b"\n")

    thread = Thread(target=watch, name="growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _look(stack: Standing, names: Sequence[str]) -> Iterator[Size]:
    for name in names:
        try:
            process = psutil.Process(stack.process(name).pid)
            with process.oneshot():
                memory, files = process.memory_info().rss, process.num_fds()
        except psutil.NoSuchProcess:
            continue  # a fault that was not to be; the next look finds another pid
        yield Size(name=name, pid=process.pid, at=time(), memory=memory, files=files)


def sizes(folder: Path) -> list[Size]:
    """Return what was noted, by time; nothing where nobody looked."""
    return [Size(**line) for line in lines(folder / FILE)]
