"""In which words does Envoy's configuration speak? The few that several parts of it need."""

import re
from typing import Any

#: Envoy's API, as JSON.
Config = dict[str, Any]

#: Headers that filters write for each other; the first thing that happens to a request is that its own are removed.
PREFIX = "x-paidonce-"
ROUTE, TOKEN, SUBJECT = f"{PREFIX}route", f"{PREFIX}token", f"{PREFIX}subject"
FRESH_ID, LIMITED = f"{PREFIX}fresh", f"{PREFIX}limited"
#: Has to be written before theirs are removed, so it is no name of that kind: it overwrites one from outside.
HEAD = "paidonce-head"
#: Dynamic metadata that the Lua writes (gateway/envoy/lua/paidonce/note.lua).
NOTE = "paidonce"

_IPV4 = re.compile(r"\d+(\.\d+){3}")


def typed(name: str, **members: Any) -> Config:
    """Return a message of the type `envoy.extensions.NAME`."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **members}


def named(name: str, config: Config) -> Config:
    """Return an extension with its configuration."""
    return {"name": name, "typed_config": config}


def seconds(count: float) -> str:
    """Return a duration."""
    return f"{count:g}s"


def address(host: str, port: int) -> Config:
    """Return the address of a socket."""
    return {"socket_address": {"address": host.strip("[]"), "port_value": port}}


def listen_address(text: str) -> Config:
    """Return the address that `HOST:PORT` or `PORT` names."""
    host, _, port = text.rpartition(":")
    return address(host or "0.0.0.0", int(port))  # noqa: S104  a bare port is every address, as in nginx


def is_address(host: str) -> bool:
    """Tell whether it is an IP address and no name."""
    return ":" in host or bool(_IPV4.fullmatch(host))


def header(key: str, value: str) -> Config:
    """Return what sets a header, over one that is there."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def file(path: object) -> Config:
    """Return where Envoy reads something."""
    return {"filename": str(path)}
