"""How does a gateway get its configuration? `paidonce gateway render nginx`, or `envoy`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="gateway", help="Gateways in front of the API.", no_args_is_help=True)


class Kind(StrEnum):
    """The gateways that there are."""

    nginx = "nginx"
    envoy = "envoy"


@app.callback()
def main() -> None:
    """Gateways in front of the API."""


@app.command()
def render(
    kind: Annotated[Kind, typer.Argument(help="Which gateway.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.", file_okay=False)],
    routes: Annotated[
        Path | None, typer.Option(help="Route file; by default the one that comes with Paidonce.", dir_okay=False)
    ] = None,
) -> None:
    """Write a gateway's configuration from the route file, the API's settings and its policy."""
    from paidonce.app.settings import settings  # noqa: PLC0415  a quick --help
    from paidonce.gateway.render import render as write  # noqa: PLC0415

    write(kind.value, routes, out, settings())
    started = {
        Kind.nginx: f"nginx -p {out.absolute()} -c nginx.conf",
        Kind.envoy: f"envoy -c {out.absolute()}/envoy.json",
    }
    typer.echo(f"wrote {out}: start it with {started[kind]}")
