"""How is a running product patched so that a patch which no longer fits is seen? What it replaces must be there."""

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
    """Let the attribute `name` of a module or class be `new`; raises PatchError when it has none."""
    if name not in vars(owner):
        raise PatchError(f"{owner.__name__} has no {name}")
    _change(owner, name, new)


def reword(module: Any, name: str, old: str, new: str) -> None:
    """Replace `old` by `new` in a statement of `module`, where it stands once; raises PatchError otherwise."""
    statement: str = vars(module).get(name, "")
    if statement.count(old) != 1:
        raise PatchError(f"{module.__name__}.{name} does not say {old!r} once")
    _change(module, name, statement.replace(old, new))


def _change(owner: Any, name: str, new: Any) -> None:
    made.append(Change(owner, name, vars(owner)[name], new))
    setattr(owner, name, new)
