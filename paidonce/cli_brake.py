"""How does a stopped consumer go on? `paidonce brake list` and `paidonce brake release NAME`."""

from typing import Annotated

import typer

app = typer.Typer(
    name="brake", help="Consumers that stopped because most of what arrived was poison.", no_args_is_help=True
)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the consumers that stand still, and why."""
    import orjson  # noqa: PLC0415

    from paidonce.app.settings import settings  # noqa: PLC0415  a quick --help
    from paidonce.workers import brake  # noqa: PLC0415
    from paidonce.workers.command_session import opened  # noqa: PLC0415

    with opened(settings()) as bind:
        found = brake.engaged(bind)
    if as_json:
        typer.echo(orjson.dumps([one._asdict() for one in found]).decode())
        return
    for one in found:
        typer.echo(f"{one.consumer}  since {one.engaged_at.isoformat(timespec='seconds')}  {one.reason}")
    if not found:
        typer.echo("no consumer stands still")


@app.command()
def release(
    name: Annotated[str, typer.Argument(help="The consumer, as `list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why: kept in the table audit, with the account that you are.")] = "",
) -> None:
    """Let a consumer go on; exit 1 when it does not stand still."""
    from paidonce.app.settings import settings  # noqa: PLC0415
    from paidonce.workers import brake  # noqa: PLC0415
    from paidonce.workers.command_session import by, opened  # noqa: PLC0415

    with opened(settings()) as bind:
        brake.release(bind, settings(), name, by(reason))
    typer.echo(f"{name} goes on")
