"""What does `paidonce up` do? The stack until Ctrl-C or SIGTERM, its addresses and a token on the screen."""

import shlex
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from types import FrameType

from rich.console import Console

from paidonce.app.auth.policy import ADMIN
from paidonce.devstack.errors import StackError
from paidonce.devstack.issuer.first_people import operator
from paidonce.devstack.servers import Report
from paidonce.devstack.stack import Stack
from paidonce.devstack.state import STATE, write_private, write_private_text
from paidonce.devstack.yours import Yours

#: In the run's folder: what a shell needs so that commands reach this stack.
ENVIRONMENT = "environment"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(*, replicas: int, json_file: Path | None, yours: Yours) -> None:
    """Run the stack, and `yours` beside it, until SIGINT, SIGTERM or SIGHUP; raises StackError when it cannot start."""
    if json_file and not json_file.absolute().parent.is_dir():
        raise StackError(f"--json {json_file}: there is no folder {json_file.absolute().parent}")
    console = Console(stderr=True, highlight=False)
    with _until_signal(), Stack(replicas=replicas, yours=yours, console=True, report=_reporter(console)) as stack:
        files = [stack.run.folder / STATE]
        try:
            _write(stack, files)
            lines = [f"{name}={shlex.quote(value)}\n" for name, value in stack.environment.items()]
            write_private_text(stack.run.folder / ENVIRONMENT, "".join(lines))
            _show(console, stack)
            # Only now: who waits for it finds all the rest.
            files += [json_file] if json_file else []
            while True:
                _write(stack, files)
                stack.wait_restart()
        finally:
            console.print("stopping")
            if json_file:
                json_file.unlink(missing_ok=True)


def _write(stack: Stack, files: Iterable[Path]) -> None:
    for file in files:
        write_private(file, asdict(stack.addresses) | {"pids": stack.pids()})


@contextmanager
def _until_signal() -> Iterator[None]:
    """The first signal unwinds the block as Ctrl-C does; later ones must not disturb that."""

    def unwind(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, unwind) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reporter(console: Console) -> Report:
    began = monotonic()

    def report(words: str) -> None:
        console.print(f"[dim]{monotonic() - began:5.1f} s[/dim]  {words}", soft_wrap=True)

    return report


def _show(console: Console, stack: Stack) -> None:
    addresses, token = stack.addresses, stack.token(roles=[ADMIN])
    for name, value in asdict(addresses).items():
        if name != "apis" and value is not None:
            console.print(f"{name:>9}  {value}", soft_wrap=True)
    console.print(f"     docs  {addresses.api}/docs", soft_wrap=True)
    console.print(f"           log in there as {' with '.join(operator())}", soft_wrap=True)
    another = f"PAIDONCE_ISSUER={addresses.issuer} .venv/bin/paidonce token"
    console.print(f"\na token for tenant acme, for ten minutes (another: {another}):\n{token}\n", soft_wrap=True)
    read = f"set -a; . {shlex.quote(str(stack.run.folder / ENVIRONMENT))}; set +a"
    console.print(
        f"how it is going, in a shell that begins with {read}\n.venv/bin/paidonce status; .venv/bin/paidonce doctor\n",
        soft_wrap=True,
        markup=False,
    )
    console.print(
        f"curl -i {addresses.api}/v1/payments -H 'Authorization: Bearer {token}' "
        "-H 'Idempotency-Key: first-1' -H 'Content-Type: application/json' "
        """-d '{"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}'\n""",
        soft_wrap=True,
        markup=False,
    )
    console.print("[green]everything runs[/green]; Ctrl-C stops all of it")
