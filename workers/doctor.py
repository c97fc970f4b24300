"""Is everything as it must be? `paidonce doctor` checks every setting and server, and says what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from rich.console import Console

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import settings as read_settings
from paidonce.workers.doctor_checks import CHECKS, WRONG


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    good: bool
    #: what is wrong and what to do, or what was found
    said: str


def main() -> bool:
    """Print what every check found; tells whether all was good."""
    console = Console(highlight=False, soft_wrap=True)
    good = True
    for finding in findings():
        good = good and finding.good
        mark = "[green]good [/green]" if finding.good else "[red]wrong[/red]"
        console.print(mark, f"{finding.name}:", end=" ")
        console.print(finding.said, markup=False)
    return good


def findings() -> Iterator[Finding]:
    """Yield what each check finds; settings that cannot be read end it, since every other check needs them."""
    try:
        settings = read_settings()
    except ValidationError as error:
        for one in error.errors():
            yield Finding("settings", False, _said(one["loc"], one["msg"]))
        return
    except ConfigurationError as error:
        yield Finding("settings", False, str(error))
        return
    yield Finding("settings", True, f"{len(settings.model_fields_set)} are set, the others have their defaults")
    for name, check in CHECKS.items():
        try:
            yield Finding(name, True, check(settings))
        except WRONG as error:
            yield Finding(name, False, str(error))


def _said(place: Sequence[int | str], message: str) -> str:
    """Name the setting, where it is one alone."""
    return f"PAIDONCE_{str(place[0]).upper()}: {message}" if place else message
