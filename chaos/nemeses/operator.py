"""What does an operator do meanwhile? Publishes again what was published already, with our own command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import orjson

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned

#: Seconds of the command: it copies 1,000 events in some 50 ms, and Python takes one to start.
REPLAY_WITHIN_S = 30.0


@contextmanager
def replay(arena: Arena, planned: Planned) -> Iterator[str]:
    """`paidonce outbox replay` of every event older than `older_than_s` seconds (an argument; 0 by default)."""
    now = datetime.now(UTC)
    end = now - timedelta(seconds=float(planned.args.get("older_than_s", 0.0)))
    since = now - timedelta(days=1)
    argv = [sys.executable, "-m", "paidonce.cli", "outbox", "replay", "--json"]
    argv += ["--from", since.isoformat(), "--to", end.isoformat()]
    env = os.environ | {"PAIDONCE_DSN": arena.stack.servers.postgres.dsn}
    done = subprocess.run(argv, env=env, capture_output=True, timeout=REPLAY_WITHIN_S, check=False)
    if done.returncode:
        raise DidNotFireError(f"outbox replay ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    yield f"{orjson.loads(done.stdout)['replayed']} events are published again"
