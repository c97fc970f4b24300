"""Which of your names are ours to run? Those in the modules that the command line names."""

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from paidonce.app.errors import ConfigurationError


def members(names: Iterable[str]) -> Iterator[object]:
    """Yield everything that the modules `names` have, each thing once.

    They are looked for in the current folder too, as `python -m` does.

    Raises:
        ConfigurationError: there is no such module.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    seen: set[int] = set()
    for name in names:
        for member in vars(_imported(name, here)).values():
            if id(member) not in seen:
                seen.add(id(member))
                yield member


def _imported(name: str, here: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f"there is no module {name}, neither in {here} nor installed: name it as an import does, shop.handlers"
        ) from error
