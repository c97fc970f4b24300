"""What does the provider say of somebody else's pipeline? The simulator's journal, or that of a provider of its own."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from paidonce.chaos import witnesses
from paidonce.chaos.adapter import Charge
from paidonce.chaos.yours.stack import YourStack
from paidonce.devstack.provider.journal import Journal


def read(stack: YourStack) -> tuple[Sequence[Charge], int]:
    """Return every charge so far, and how many calls the provider got; of its own provider, how many charges."""
    own = stack.pipeline.charges()
    if own is not None:
        return own, len(own)
    said = witnesses.journal(Path(stack.journal))
    return said["charges"], said["provider_calls"]


def write(stack: YourStack, path: Path, *, at: float) -> None:
    """Leave the journal at `path` as evidence: one of its own provider has charges and no calls.

    `at`, in seconds since 1970, is for charges whose time nobody told.
    """
    own = stack.pipeline.charges()
    if own is None:
        witnesses.copy_journal(Path(stack.journal), path)
        return
    journal = Journal(path)
    for charge in own:
        when = at if charge.at is None else charge.at
        journal.add_charge(asdict(charge), at=when, call=0, key=charge.key, payment_method="")
    journal.close()
