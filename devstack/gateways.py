"""How does a gateway of each kind start on this machine? From the folder that `paidonce gateway render KIND` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from paidonce.devstack.envoy import start_envoy
from paidonce.devstack.nginx import start_nginx
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run


class Start(Protocol):
    """Starts one kind."""

    def __call__(self, run: Run, folder: Path, *, port: int) -> Process:
        """Return it once it listens on the loopback `port`; PackagesUnobtainableError: it cannot be had here."""


#: kind, as `paidonce.gateway.render.KINDS` has it -> what starts it
STARTS: Mapping[str, Start] = {"nginx": start_nginx, "envoy": start_envoy}
