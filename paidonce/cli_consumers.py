"""What can be done about consumers from a shell? Name those of your modules, stop waiting for one that is gone."""

from typing import Annotated

import typer

app = typer.Typer(help="Consumers for which events are kept.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Consumers for which events are kept."""


@app.command()
def of(modules: Annotated[list[str], typer.Argument(help="Modules with handlers of your own, shop.handlers.")]) -> None:
    """Print the consumers that the handlers in some modules name, one a line."""
    from paidonce.app.yours.handlers import found  # noqa: PLC0415  a quick --help

    for name in sorted({one.consumer for one in found(modules)}):
        typer.echo(name)


@app.command()
def forget(name: Annotated[str, typer.Argument(help="A consumer that was removed for good.")]) -> None:
    """Keep no events any more for a consumer that will not come back."""
    from paidonce.app.settings import settings  # noqa: PLC0415  a quick --help
    from paidonce.workers.forgetting import forget as run  # noqa: PLC0415

    run(settings(), name)
    typer.echo(f"nothing is kept for {name} any more")
