"""S14: a result is written by the effect's id.

A worker that was paused wakes up and puts its old answer over the one that its successor has written.
"""

from paidonce.app.messaging import effects
from paidonce.chaos.sabotage.patching import reword


def take_out() -> None:
    """Write the result whoever holds the claim."""
    reword(effects, "FINISH", "id = %(id)s AND state = 'running' AND claim_token = %(token)s", "id = %(id)s")
