"""How is a running product patched so that a patch which no longer fits is seen? What it replaces must be there."""

import inspect
from typing import Any, NamedTuple


class Change(NamedTuple):
    """An attribute of a module or class, as it was and as it is."""

    owner: Any
    name: str
    before: Any
    after: Any


#: What was changed in this process, in order: whoever tells of a patch reads it here.
made: list[Change] = []


class PatchError(Exception):
    """What a patch is to replace is not there any more: write it anew for the product as it is."""


def swap(owner: Any, name: str, new: Any) -> None:
    """Let the attribute `name` of a module or class be `new`.

    Raises:
        PatchError: it has none, or one that is called otherwise: the patch would break the product, not take out a
            safeguard.
    """
    if name not in vars(owner):
        raise PatchError(f"{owner.__name__} has no {name}")
    before = vars(owner)[name]
    if inspect.isfunction(before) and not _can_stand_for(before, new):
        raise PatchError(f"{owner.__name__}.{name} takes {inspect.signature(before)}, not {inspect.signature(new)}")
    _change(owner, name, new)


def reword(module: Any, name: str, old: str, new: str) -> None:
    """Replace `old` by `new` in a statement of `module`, where it stands once; raises PatchError otherwise."""
    statement: str = vars(module).get(name, "")
    if statement.count(old) != 1:
        raise PatchError(f"{module.__name__}.{name} does not say {old!r} once")
    _change(module, name, statement.replace(old, new))


def _can_stand_for(before: Any, new: Any) -> bool:
    """Tell whether `new` can be called as `before` can: as many by position, and those by name."""
    taken = inspect.signature(before).parameters.values()
    by_position = [one.name for one in taken if one.kind is not one.KEYWORD_ONLY]
    by_name = {one.name: None for one in taken if one.kind is one.KEYWORD_ONLY}
    try:
        inspect.signature(new).bind(*by_position, **by_name)
    except TypeError:
        return False
    return True


def _change(owner: Any, name: str, new: Any) -> None:
    made.append(Change(owner, name, vars(owner)[name], new))
    setattr(owner, name, new)
