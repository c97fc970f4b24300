"""Who arms and heals the faults? Whoever sends JSON lines over the proxy's Unix socket; each gets an answer.

| request | answer `ok` |
|---|---|
| `{"do": "open", "name", "protocol", "to", "port"}` | true: the link takes connections |
| `{"do": "arm", "fault": {…}}` (chaos/proxy/faults.py) | the fault's number |
| `{"do": "heal"}`, with `"number"` for one only | true: nothing of it lasts |
| `{"do": "fired"}`, with `"number"` for one only | every firing so far, in order |
| `{"do": "wait", "number", "firings", "within_s"}` | the fault's firings, once there are so many or the time is over |
| `{"do": "links"}` | by name: connections now, events so far, why connections went blind |

What cannot be done is answered `{"error": why}`.
"""

import asyncio
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from paidonce.chaos.proxy.faults import Firing, fault
from paidonce.chaos.proxy.link import Armed, Link, Route


class Desk:
    """The links of one process, and what is done to them."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._armed: dict[int, Armed] = {}
        self._numbers = count(1)
        self._tasks: set[Task[None]] = set()

    async def serve(self, path: Path) -> None:
        """Take requests on a Unix socket."""
        await asyncio.start_unix_server(self._serve, path)

    async def open(self, route: Route) -> None:
        """Open a link; raises ValueError when there is one of that name, OSError when its port is taken."""
        if route.name in self._links:
            raise ValueError(f"there is a link {route.name!r} already")
        link = Link(route)
        await link.listen()
        self._links[route.name] = link

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(ConnectionError):
            async for line in reader:
                try:
                    answer = {"ok": await self._do(orjson.loads(line))}
                except (ValueError, TypeError, KeyError, OSError) as error:
                    answer = {"error": str(error) or repr(error)}
                writer.write(orjson.dumps(answer) + b"\n")
                await writer.drain()
        writer.close()

    async def _do(self, said: dict[str, Any]) -> Any:
        match said.pop("do", None):
            case "open":
                await self.open(Route(**said))
                return True
            case "arm":
                return self._arm(said["fault"])
            case "heal":
                for armed in self._those(said.get("number")):
                    await self._links[armed.fault.link].heal(armed.number)
                return True
            case "fired":
                return _firings(self._those(said.get("number")))
            case "wait":
                return await self._wait(self._armed[said["number"]], said["firings"], said["within_s"])
            case "links":
                return {name: _told(link) for name, link in self._links.items()}
            case other:
                raise ValueError(f"nothing known of {other!r}")

    def _arm(self, described: dict[str, Any]) -> int:
        planned = fault(described)
        if planned.link not in self._links:
            raise ValueError(f"there is no link {planned.link!r}: it is one of {', '.join(sorted(self._links))}")
        armed = Armed(next(self._numbers), planned)
        self._links[planned.link].arm(armed)
        self._armed[armed.number] = armed
        if planned.for_s is not None:
            task = asyncio.create_task(self._heal_later(armed, planned.for_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return armed.number

    async def _heal_later(self, armed: Armed, for_s: float) -> None:
        await armed.fired(1)
        await asyncio.sleep(for_s)
        await self._links[armed.fault.link].heal(armed.number)

    async def _wait(self, armed: Armed, firings: int, within_s: float) -> list[dict[str, Any]]:
        with suppress(TimeoutError):
            await asyncio.wait_for(armed.fired(firings), within_s)
        return _firings([armed])

    def _those(self, number: int | None) -> list[Armed]:
        return [*self._armed.values()] if number is None else [self._armed[number]]


def _firings(those: Iterable[Armed]) -> list[dict[str, Any]]:
    found: list[Firing] = [firing for armed in those for firing in armed.firings]
    return [asdict(firing) for firing in sorted(found, key=lambda firing: firing.at)]


def _told(link: Link) -> dict[str, Any]:
    return {"connections": link.connections, "events": link.events, "blind": link.blind}
