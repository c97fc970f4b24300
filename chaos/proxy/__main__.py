"""One process for all links: `python -m paidonce.chaos.proxy CONFIG` prints `ready` and serves until its input ends.

So it never outlives who started it. CONFIG is a JSON file: `{"control": path of the Unix socket, "links":
[{"name", "protocol", "port", "to"}, …]}`; more links can be opened later (chaos/proxy/desk.py).
"""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import orjson

from paidonce.chaos.proxy.desk import Desk
from paidonce.chaos.proxy.link import Route


async def serve(said: dict[str, Any]) -> None:
    """Serve what the configuration describes, until standard input ends."""
    desk, over, loop = Desk(), asyncio.Event(), asyncio.get_running_loop()
    for link in said["links"]:
        await desk.open(Route(**link))
    await desk.serve(Path(said["control"]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Thread(target=_until_input_ends, args=[loop, over], daemon=True).start()
    await over.wait()


def _until_input_ends(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(over.set)


def main() -> None:
    """Serve what the file in the first argument describes."""
    asyncio.run(serve(orjson.loads(Path(sys.argv[1]).read_bytes())))


if __name__ == "__main__":
    main()
