"""What can be done with the outbox from a shell? `paidonce outbox repair, replay`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from paidonce.workers.outbox_repair import Finding, Server

app = typer.Typer(
    name="outbox", help="The events that are published, and shards that stand still.", no_args_is_help=True
)

#: Exit status of a repair that found something and mended nothing, because nobody said --yes.
NOT_MENDED = 3

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def repair(
    yes: Annotated[bool, typer.Option("--yes", help="Mend it; without, only say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Explain why shards stand still, and mend it: exit 0 nothing to mend or mended, 3 only explained, 1 refused."""
    from paidonce.app import log  # noqa: PLC0415  a quick --help
    from paidonce.app.settings import settings  # noqa: PLC0415
    from paidonce.workers import outbox_repair, outbox_repair_mend  # noqa: PLC0415

    told = settings()
    log.configure("repair", "WARNING")
    with _engine() as bind:
        server, findings = outbox_repair.explain(told, bind)
        wrong = [one for one in findings if one.contradictions]
        mended = outbox_repair_mend.mend(told, bind, [one.shard for one in wrong]) if wrong and yes else []
    if as_json:
        _print_json({"server": _server(server), "shards": [_document(one) for one in findings], "mended": bool(mended)})
    else:
        _explain(wrong, mended=bool(mended))
    if wrong and not yes:
        raise typer.Exit(NOT_MENDED)


def _explain(wrong: list["Finding"], *, mended: bool) -> None:
    if not wrong:
        typer.echo("Kafka and the database agree: there is nothing to mend")
    for one in wrong:
        typer.echo(f"shard {one.shard} stands still:")
        for why in one.because:
            typer.echo(f"  {why}")
        typer.echo("what was done:" if mended else "what would be done:")
        for what in one.remedy:
            typer.echo(f"  {what}")
        typer.echo("what that means:")
        for meaning in one.consequences:
            typer.echo(f"  {meaning}")
    if wrong and mended:
        typer.echo("mended: the relays go on by themselves, within half a minute")
    elif wrong:
        typer.echo(
            "nothing was changed. If the newer database still exists, put it back instead: nothing else is needed. "
            "Otherwise mend it: paidonce outbox repair --yes"
        )


def _server(server: "Server") -> dict[str, Any]:
    return {"recorded": server.recorded, "found": server.found}


def _document(one: "Finding") -> dict[str, Any]:
    return {
        "shard": one.shard,
        "kafka": one.kafka,
        "database": one.database,
        "contradictions": one.contradictions,
        "because": one.because,
        "remedy": one.remedy if one.contradictions else [],
        "consequences": one.consequences if one.contradictions else [],
        "keep": one.keep,
        "events_after": one.events_after,
    }


@app.command()
def replay(
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="ISO 8601; without an offset it is UTC.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Until before this time.")],
    aggregate: Annotated[
        str | None, typer.Option(metavar="ID", help="Only events of this payment; by default all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish retained events once more, under their old message ids; who knows them absorbs them."""
    from paidonce.app.messaging.outbox import Range  # noqa: PLC0415
    from paidonce.workers import outbox_replay  # noqa: PLC0415

    wanted = Range(_moment(start, "--from"), _moment(end, "--to"), aggregate)
    with _engine() as bind:
        found = outbox_replay.look(bind, wanted)
        total = 0
        if not dry_run:
            total = outbox_replay.replay(bind, wanted, progress=lambda count: _progress(count, found.events))
    if as_json:
        times = {"from": wanted.start.isoformat(), "to": wanted.end.isoformat(), "aggregate": aggregate}
        _print_json(times | {"found": found.events, "by_type": found.by_type, "replayed": total})
    else:
        for type_, count in found.by_type.items():
            typer.echo(f"{count}  {type_}")
        done = "would be published again" if dry_run else "are published again by the relay, after what is waiting"
        typer.echo(f"{found.events if dry_run else total} events {done}")


def _moment(text: str, option: str) -> "datetime":
    from paidonce.workers.outbox_replay import parse  # noqa: PLC0415

    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter("is no time as in 2026-11-23T14:00:00 or 2026-11-23", param_hint=option) from error


def _progress(count: int, of: int) -> None:
    typer.echo(f"{count} of {of}", err=True)


@contextmanager
def _engine() -> Iterator["Engine"]:
    from paidonce.app import db  # noqa: PLC0415
    from paidonce.app.settings import settings  # noqa: PLC0415

    bind = db.engine(settings(), size=2)
    try:
        with bind.connect() as tx:
            db.check_schema(tx)
        yield bind
    finally:
        bind.dispose()


def _print_json(document: object) -> None:
    import orjson  # noqa: PLC0415

    typer.echo(orjson.dumps(document).decode())
