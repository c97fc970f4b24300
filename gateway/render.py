"""How does the route file become a gateway's configuration? One entry for every kind of gateway."""

from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from paidonce.app.settings import Settings
from paidonce.gateway.envoy.render import render as render_envoy
from paidonce.gateway.nginx.render import render as render_nginx
from paidonce.gateway.plan import Plan, plan
from paidonce.gateway.route_file import RouteFile, read

#: kind of gateway -> what writes its configuration into a folder
KINDS: Mapping[str, Callable[[Plan, Path], None]] = {"nginx": render_nginx, "envoy": render_envoy}


def render(kind: str, routes: Path | None, folder: Path, settings: Settings) -> None:
    """Write the configuration of this kind into `folder`; `routes` None: the route file that comes with Paidonce.

    Raises:
        ConfigurationError: the route file is wrong; names what.
    """
    KINDS[kind](plan(_read(routes), settings), folder)


def _read(routes: Path | None) -> RouteFile:
    if routes is not None:
        return read(routes)
    with as_file(files(__package__) / "routes.toml") as own:
        return read(own)
