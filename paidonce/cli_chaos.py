"""How does one try whether anything is charged twice? `paidonce chaos run`, `yours`, `matrix`, `atlas` and others."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    name="chaos",
    help="Break everything while customers pay, and judge what came of it: exit 0 valid, 1 invalid, 3 unknown.",
    no_args_is_help=True,
)

JsonFile = Annotated[Path | None, typer.Option("--json", help="Copy report.json to this file.", dir_okay=False)]


@app.command()
def run(  # noqa: PLR0917  the command line's options
    plan: Annotated[str, typer.Argument(help="One of `paidonce chaos plans`, or a TOML file.")] = "kills",
    payments: Annotated[int | None, typer.Option(min=1, help="Payments to make; by default the plan's.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=1, help="Seconds of load.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides load, faults and their order; by default random.")] = None,
    only: Annotated[str | None, typer.Option(help="Make only these faults: their numbers, e.g. 2,5.")] = None,
    sabotage: Annotated[list[str] | None, typer.Option(help="Take this safeguard out: S1 to S16; may repeat.")] = None,
    client: Annotated[Literal["kafka-python", "librdkafka"] | None, typer.Option(help="The relay's producer.")] = None,
    shrink: Annotated[bool, typer.Option(help="Make a failing run again with fewer faults.")] = True,
    report: Annotated[Path | None, typer.Option(help="Folder of report and evidence.", file_okay=False)] = None,
    json_file: JsonFile = None,
) -> None:
    """Carry out a plan on a fresh stack; the last line is one JSON object."""
    from paidonce.chaos.command import run as carry_out  # noqa: PLC0415  a quick --help
    from paidonce.chaos.plan import PlanError  # noqa: PLC0415

    settings: dict[str, Any] = {"kafka_client": client} if client else {}
    numbers = _numbers(only)
    try:
        status = carry_out(
            plan,
            payments=payments,
            seconds=seconds,
            seed=seed,
            only=numbers,
            taken_out=_safeguards(sabotage),
            settings=settings,
            folder=report,
            json=json_file,
            shrinks=shrink,
        )
    except PlanError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(status)


@app.command()
def yours(  # noqa: PLR0917  the command line's options
    pipeline: Annotated[str, typer.Argument(help="Your adapter, MODULE:CLASS: docs/chaos-your-own.md.")],
    plan: Annotated[str | None, typer.Option(help="A TOML file; by default every program is struck.")] = None,
    payments: Annotated[int | None, typer.Option(min=1, help="Payments to make; by default the plan's.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=1, help="Seconds of load.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides load, faults and their order; by default random.")] = None,
    only: Annotated[str | None, typer.Option(help="Make only these faults: their numbers, e.g. 2,5.")] = None,
    shrink: Annotated[bool, typer.Option(help="Make a failing run again with fewer faults.")] = False,
    report: Annotated[Path | None, typer.Option(help="Folder of report and evidence.", file_okay=False)] = None,
    json_file: JsonFile = None,
) -> None:
    """Do the same to a pipeline of your own, in any language; the last line is one JSON object."""
    from paidonce.chaos.adapter import AdapterError  # noqa: PLC0415  a quick --help
    from paidonce.chaos.command import yours as carry_out  # noqa: PLC0415
    from paidonce.chaos.plan import PlanError  # noqa: PLC0415

    try:
        status = carry_out(
            pipeline,
            plan=plan,
            payments=payments,
            seconds=seconds,
            seed=seed,
            only=_numbers(only),
            folder=report,
            json=json_file,
            shrinks=shrink,
        )
    except (AdapterError, PlanError) as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(status)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The evidence of a run.", file_okay=False, exists=True)],
    json_file: JsonFile = None,
) -> None:
    """Judge the evidence of an earlier run again, without the stack."""
    from paidonce.chaos.command import check as judge  # noqa: PLC0415
    from paidonce.chaos.evidence import EvidenceError  # noqa: PLC0415

    try:
        raise typer.Exit(judge(folder, json_file))
    except EvidenceError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def matrix(
    safeguards: Annotated[list[str] | None, typer.Argument(help="S1 to S16; by default all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first round; each further one has the next.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is tried.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Folder of the evidence.", file_okay=False)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Copy matrix.json to this file.", dir_okay=False)
    ] = None,
) -> None:
    """Take each safeguard out: the rig must find its bug. Exit 0 when it did, and all is valid with them in place."""
    from paidonce.chaos.matrix_command import run as carry_out  # noqa: PLC0415
    from paidonce.chaos.plan import PlanError  # noqa: PLC0415

    wanted = _safeguards(safeguards)
    try:
        raise typer.Exit(carry_out(wanted, seed=seed, rounds=rounds, folder=report, json=json_file))
    except PlanError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def atlas(
    steps: Annotated[str, typer.Option(help="Only steps with such names, e.g. 'relay.*,effects.*'.")] = "*",
    kinds: Annotated[str, typer.Option(help="Only these of kill, stop and exception, by commas.")] = "",
    seed: Annotated[int | None, typer.Option(help="Decides payments and who is struck together.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder of report and evidence.", file_okay=False)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Copy atlas.json to this file.", dir_okay=False)
    ] = None,
) -> None:
    """Strike before and after every step of the product: exit 0 when all were got over and 95 % were covered."""
    from paidonce.chaos.atlas.command import NoSuchStepError  # noqa: PLC0415  a quick --help
    from paidonce.chaos.atlas.command import run as carry_out  # noqa: PLC0415
    from paidonce.chaos.atlas.targets import KINDS  # noqa: PLC0415

    chosen = kinds.split(",") if kinds else list(KINDS)
    if unknown := [kind for kind in chosen if kind not in KINDS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: is one of {', '.join(KINDS)}", param_hint="--kinds")
    try:
        raise typer.Exit(carry_out(pattern=steps, kinds=chosen, seed=seed, folder=report, json=json_file))
    except NoSuchStepError as error:
        raise typer.BadParameter(str(error), param_hint="--steps") from None


@app.command()
def plans() -> None:
    """List the plans of the house."""
    from paidonce.chaos.plan import load, names  # noqa: PLC0415

    for name in names():
        typer.echo(f"{name:10} {load(name).says}")


def _numbers(only: str | None) -> set[int] | None:
    """Return the numbers; raises typer.BadParameter for what are none."""
    try:
        return None if only is None else {int(number) for number in only.split(",")}
    except ValueError:
        raise typer.BadParameter(f"{only!r} are no numbers separated by commas", param_hint="--only") from None


def _safeguards(names: list[str] | None) -> list[str]:
    """Return the names; raises typer.BadParameter for one that is none."""
    from paidonce.chaos.sabotage import SAFEGUARDS  # noqa: PLC0415

    unknown = [name for name in names or () if name not in SAFEGUARDS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: the safeguards are {', '.join(SAFEGUARDS)}")
    return names or []
