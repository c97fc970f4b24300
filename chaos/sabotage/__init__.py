"""What if a safeguard were not there? Each of S1 to S16 has a module that takes it out of one process, at its start.

A rig that cannot fail proves nothing. Nothing else in this project patches the product's inside:
there is no switch in it that turns a safeguard off (docs/sabotage.md).
"""

from importlib import import_module

#: In the order of docs/design.md, "Safeguards".
SAFEGUARDS = tuple(f"S{number}" for number in range(1, 17))


def take_out(safeguard: str) -> None:
    """Take the safeguard, one of SAFEGUARDS, out of this process; before it has begun.

    Raises:
        PatchError: the product is no longer what the patch was written for.
    """
    import_module(module_of(safeguard)).take_out()


def module_of(safeguard: str) -> str:
    """Return the name of the module that takes the safeguard out."""
    return f"{__name__}.s{int(safeguard[1:]):02}"
