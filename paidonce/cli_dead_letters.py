"""What can be done with dead letters from a shell? `paidonce dead-letters list, show, redrive, discard`."""

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from paidonce.app.messaging.dead_letters import DeadLetter
    from paidonce.workers.dead_letters import Answer

app = typer.Typer(name="dead-letters", help="Messages that nobody could work on.", no_args_is_help=True)

#: The largest id that PostgreSQL has.
ID_MAX = 2**63 - 1
#: Characters of a reason in a line of `list`; `show` has all of it.
REASON_CHARS = 80
#: White space that lays a payload out.
LAID_OUT = "\n\t"

Id = Annotated[int, typer.Argument(metavar="ID", min=1, max=ID_MAX, help="As `list` shows it.")]
Ids = Annotated[list[int], typer.Argument(metavar="ID…", min=1, max=ID_MAX, help="As `list` shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option(help="Why: kept in the table audit, with the account that you are.")]


@app.command("list")
def list_(
    consumer: Annotated[str | None, typer.Option(help="Of this consumer; by default of all.")] = None,
    state: Annotated[str | None, typer.Option(help="dead, redriven, done, discarded, or all.")] = "dead",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at most, the newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List them, without their payloads."""
    from paidonce.app.settings import settings  # noqa: PLC0415
    from paidonce.app.visible import visible  # noqa: PLC0415
    from paidonce.workers import dead_letters as work  # noqa: PLC0415  a quick --help

    if state not in {"dead", "all", *work.NOT_DEAD}:
        raise typer.BadParameter("is one of dead, redriven, done, discarded, all", param_hint="--state")
    with _database() as bind:
        found = work.listed(bind, settings(), consumer=consumer, state=None if state == "all" else state, limit=limit)
        others = [] if found or consumer is None else work.consumers(bind)
    if as_json:
        _print_json([_document(letter) for letter in found])
        return
    for letter in found:
        place = _place(letter.envelope)
        reason = " ".join(letter.reason.split())[:REASON_CHARS]
        line = f"{letter.id}  {letter.consumer}  {letter.state}  {letter.message_id}  {place}  {reason}"
        typer.echo(visible(line))
    if others:
        typer.echo(f"none of {consumer} in that state; there are dead letters of {', '.join(others)}", err=True)


@app.command()
def show(letter_id: Id, as_json: AsJson = False) -> None:
    """Show one whole: envelope, place on the topic, reason and payload."""
    from paidonce.app.visible import visible  # noqa: PLC0415
    from paidonce.workers import dead_letters as work  # noqa: PLC0415

    with _database() as bind:
        found = work.shown(bind, letter_id)
    if found is None:
        _fail(f"there is no dead letter {letter_id}")
    letter, payload = found
    document = _document(letter) | {"envelope": letter.envelope, "value": _readable(payload)}
    if as_json:
        _print_json(document)
        return
    for name, value in document.items():
        said = value if isinstance(value, str) else _json(value).decode()
        typer.echo(f"{name}: {visible(said, keep=LAID_OUT)}")


@app.command()
def redrive(
    letter_ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID…", min=1, max=ID_MAX, help="As `list` shows them.")
    ] = None,
    consumer: Annotated[str | None, typer.Option(help="With --all: whose.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of --consumer that are dead.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let messages be worked on again, from their rows, under their ids; exit 1 when one stays as it is."""
    from paidonce.app.settings import settings  # noqa: PLC0415
    from paidonce.workers import dead_letters as work  # noqa: PLC0415
    from paidonce.workers.command_session import by  # noqa: PLC0415

    if bool(letter_ids) == every or every != (consumer is not None):
        raise typer.BadParameter("give either ids, or --consumer NAME --all")
    with _database() as bind:
        if consumer is not None:
            answers = list(work.redrive_all(bind, settings(), consumer, by(reason)))
        else:
            answers = [work.redrive(bind, settings(), letter_id, by(reason)) for letter_id in letter_ids or ()]
        if not answers:
            others = ", ".join(work.consumers(bind)) or "nobody"
            _fail(f"no letter of {consumer} is dead; there are dead letters of {others}")
        braked = work.standing(bind)
    _report(answers, "redriven", as_json=as_json)
    for name in braked:
        typer.echo(f"{name} stands still: what was redriven for it waits for `paidonce brake release {name}`", err=True)
    _exit(answers)


@app.command()
def discard(
    letter_ids: Ids,
    yes: Annotated[bool, typer.Option("--yes", help="You mean it: nobody will work on them.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Give messages up; their rows stay, and show who they were; exit 1 when one stays as it is."""
    from paidonce.workers import dead_letters as work  # noqa: PLC0415
    from paidonce.workers.command_session import by  # noqa: PLC0415

    if not yes:
        raise typer.BadParameter(f"nobody will ever work on these {len(letter_ids)}: repeat it with --yes")
    with _database() as bind:
        answers = [work.discard(bind, letter_id, by(reason)) for letter_id in letter_ids]
    _report(answers, "discarded", as_json=as_json)
    _exit(answers)


def _database() -> "AbstractContextManager[Engine]":
    from paidonce.app.settings import settings  # noqa: PLC0415
    from paidonce.workers.command_session import opened  # noqa: PLC0415

    return opened(settings())


def _document(letter: "DeadLetter") -> dict[str, Any]:
    """Return what is shown of a letter: its place beside the rest, and no payload."""
    shown = {name: value for name, value in letter._asdict().items() if name not in {"envelope", "age"}}
    place = {name: letter.envelope.get(name) for name in ("topic", "partition", "offset")}
    return shown | place | {"age_s": round(letter.age.total_seconds())}


def _place(envelope: dict[str, Any]) -> str:
    return f"{envelope['topic']}[{envelope['partition']}]@{envelope['offset']}" if "topic" in envelope else "-"


def _readable(payload: bytes | None) -> str | dict[str, str] | None:
    """Return text as it is, and bytes that are none in base64."""
    if payload is None:
        return None
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(payload).decode()}


def _report(answers: "Iterable[Answer]", done: str, *, as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    answers = list(answers)
    if as_json:
        _print_json([asdict(answer) for answer in answers])
        return
    for answer in answers:
        if answer.refused:
            typer.echo(f"{answer.id}: {answer.refused}", err=True)
    typer.echo(f"{sum(1 for answer in answers if answer.done)} {done}")


def _exit(answers: "Iterable[Answer]") -> None:
    if any(answer.refused for answer in answers):
        raise typer.Exit(1)


def _fail(said: str) -> NoReturn:
    from paidonce.app.errors import PaidonceError  # noqa: PLC0415

    raise PaidonceError(said)


def _json(document: Any) -> bytes:
    import orjson  # noqa: PLC0415

    return orjson.dumps(document)


def _print_json(document: Any) -> None:
    typer.echo(_json(document).decode())
