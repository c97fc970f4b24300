"""Which processes of yours run beside the stack? Your application, a consumer for each that your handlers name, your
executors' worker: `paidonce up --app --handlers --executors` (docs/own-workers.md).
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paidonce.devstack.errors import StackError
from paidonce.devstack.members import Member, worker
from paidonce.devstack.ports import LOOPBACK, free_port

#: Seconds for an interpreter to import your modules and name their consumers.
NAMES_WITHIN_S = 60.0


@dataclass(frozen=True)
class Yours:
    """What of yours is to run; modules are looked for in `folder`."""

    #: an ASGI application, `shop.api:app`
    app: str | None = None
    handlers: Sequence[str] = ()
    executors: Sequence[str] = ()
    folder: Path = field(default_factory=Path.cwd)
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str | None:
        """Where the application is; None without one."""
        return f"http://{LOOPBACK}:{self.port}" if self.app else None

    def members(self, env: Mapping[str, str]) -> list[Member]:
        """Return the processes, once the servers that `env` names stand: your modules may want them.

        Raises:
            StackError: a module cannot be imported; shows what it said.
        """
        modules = [part for module in self.handlers for part in ("--handlers", module)]
        found = [
            worker(f"consumer-{name}", "consumer", name, *modules, folder=self.folder) for name in self._consumers(env)
        ]
        if self.executors:
            named = [part for module in self.executors for part in ("--executors", module)]
            found.append(worker("effects-own", "effects", *named, folder=self.folder))
        if self.app and self.url:
            uvicorn = [sys.executable, "-m", "uvicorn", self.app, "--host", LOOPBACK, "--port", str(self.port)]
            found.append(Member("app", (), self.url, folder=self.folder, program=uvicorn, any_answer=True))
        return found

    def _consumers(self, env: Mapping[str, str]) -> list[str]:
        """Ask another interpreter: your modules are not to be imported into this one."""
        if not self.handlers:
            return []
        argv = [sys.executable, "-m", "paidonce.cli", "consumers", "of", *self.handlers]
        said = subprocess.run(
            argv,
            cwd=self.folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=NAMES_WITHIN_S,
            check=False,
        )
        if said.returncode:
            raise StackError(f"--handlers {' '.join(self.handlers)}: {said.stderr.strip() or said.stdout.strip()}")
        return said.stdout.split()
