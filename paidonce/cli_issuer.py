"""How does the development issuer run, and how are its keys changed? `paidonce issuer`, `paidonce issuer rotate`, …"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="issuer", help="The development issuer of tokens; alone, the command runs it.", invoke_without_command=True
)


@app.callback()
def serve(context: typer.Context) -> None:
    """Run the development issuer of tokens, or one of the commands below."""
    if context.invoked_subcommand is None:
        from paidonce.devstack.issuer.main import main as run  # noqa: PLC0415  a quick --help

        run()


@app.command()
def rotate(
    at_once: Annotated[bool, typer.Option("--at-once", help="Sign with the new key now, unannounced.")] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Take the old keys away too, now: they leaked. Their tokens die.")
    ] = False,
) -> None:
    """Give the issuer a new signing key; the old one stays in the key set until its last token is over."""
    from paidonce.app.clock import SystemClock  # noqa: PLC0415
    from paidonce.devstack.issuer import key_file  # noqa: PLC0415

    new = key_file.rotate(_folder(), SystemClock().now(), at_once=at_once, drop=drop)
    typer.echo(f"{new.kid}  signs from {new.signs_from.isoformat(timespec='seconds')}")


@app.command()
def events(
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many of the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what the issuer noticed: refresh tokens and codes that came a second time."""
    import orjson  # noqa: PLC0415

    from paidonce.devstack.issuer import command  # noqa: PLC0415

    found = command.events(count)
    if as_json:
        typer.echo(orjson.dumps([one._asdict() for one in found]).decode())
        return
    for one in found:
        about = "  ".join(f"{name}={value}" for name, value in one.about.items())
        typer.echo(f"{one.at.isoformat(timespec='seconds')}  {one.name}  {about}")
    if not found:
        typer.echo("nothing was noticed")


@app.command()
def person(
    name: Annotated[str, typer.Argument(help="Under which to log in.")],
    tenant: Annotated[str, typer.Option(help="acme or globex.")] = "acme",
    role: Annotated[list[str] | None, typer.Option(help="May repeat; by default none.")] = None,
) -> None:
    """Add a person, or change one; asks for the password."""
    from paidonce.devstack.issuer import command  # noqa: PLC0415

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    command.put_person(name, tenant, tuple(role or ()), password)
    typer.echo(f"{name} may log in for {tenant}")


def _folder() -> Path:
    """The folder that PAIDONCE_ISSUER_FOLDER names, or else that of the running `paidonce up`."""
    import os  # noqa: PLC0415

    from paidonce.devstack.state import running_issuer_folder  # noqa: PLC0415

    named = os.environ.get("PAIDONCE_ISSUER_FOLDER")
    return Path(named) if named else running_issuer_folder()
