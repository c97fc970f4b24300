"""What happens when everything is killed while customers pay? `paidonce demo` tries it, and says."""

import sys
from pathlib import Path

from paidonce.chaos.command import run

WELCOME = """\
[bold]Paidonce: one key, at most one charge, whatever fails.[/bold]
{payments} payments, from clients that give up too early, ask again and send duplicates at once, go through
two replicas of an API, a relay, three consumers and an effects worker, on a real PostgreSQL and a real
Apache Kafka on this machine. Meanwhile each of these processes is killed with SIGKILL. Then the provider's
own journal, the Kafka topic, the tables and what the clients saw are held against each other. Seed {seed}.
"""


def demo(payments: int = 300, seed: int | None = None, report: Path | None = None, json: Path | None = None) -> int:
    """Run the plan `demo` and print its report; returns the exit status.

    Evidence goes to the folder `report` (`reports/demo-<time>` by default), and report.json to `json` too.
    """
    return run("demo", payments=payments, seed=seed, folder=report, json=json, welcome=WELCOME)


if __name__ == "__main__":
    sys.exit(demo())
