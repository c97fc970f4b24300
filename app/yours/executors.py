"""Which executors are in your modules? Each carries out one kind of effect (app/yours/effects.py)."""

from collections.abc import Iterable

from paidonce.app.errors import ConfigurationError
from paidonce.app.yours import modules
from paidonce.app.yours.effects import Executor


def found(names: Iterable[str]) -> list[Executor]:
    """Return the executors in the modules `names`.

    Raises:
        ConfigurationError: there is no such module, no executor in them, or two of one kind.
    """
    named = list(names)
    executors = [member for member in modules.members(named) if isinstance(member, Executor)]
    kinds = [one.name for one in executors]
    if not kinds:
        raise ConfigurationError(f"there is no executor in {', '.join(named)}: mark one by @effects.executor(KIND, …)")
    if len(set(kinds)) < len(kinds):
        raise ConfigurationError(f"two executors of one kind in {', '.join(named)}: {', '.join(sorted(kinds))}")
    return executors
