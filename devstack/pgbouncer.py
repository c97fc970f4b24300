"""How does a PgBouncer start on this machine? Debian's package `pgbouncer`, in transaction mode before a PostgreSQL."""

import os
import pwd
import secrets
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import psycopg

from paidonce.devstack import debian
from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.locks import locked
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

PACKAGE = "pgbouncer"
#: Seconds until it answers: 0.1 on a quiet machine.
START_S = 30.0
#: Whom it runs as, when we are root, as it refuses to run as root.
ACCOUNT = "nobody"
#: Who may ask its console.
CONSOLE = "console"

#: After a failed login it would by itself try none for 15 s, and refuse everybody meanwhile.
CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = {loopback}
listen_port = {listens}
unix_socket_dir =
pool_mode = {mode}
max_client_conn = 1000
server_login_retry = 1
auth_type = scram-sha-256
auth_file = {users}
admin_users = {admin}
{more}
"""


class PgBouncer:
    """A running pooler before the server at `dsn`, whose user may log in; and `users` of it (name -> password)."""

    def __init__(
        self,
        run: Run,
        dsn: str,
        users: Mapping[str, str] | None = None,
        *,
        mode: str = "transaction",
        more: str = "",
    ) -> None:
        """`more` is configuration, in its own words.

        Raises:
            PackagesUnobtainableError: there is no PgBouncer here; says why.
            StackError: it did not start; says what it said.
        """
        self._port, self._admin = free_port(), secrets.token_urlsafe(18)
        folder = run.folder / f"pgbouncer-{self._port}"
        folder.mkdir(mode=0o700)
        at = urlsplit(dsn)
        known = {at.username or "": at.password or "", **(users or {}), CONSOLE: self._admin}
        _secret(folder / "users.txt", "".join(f'"{name}" "{password}"\n' for name, password in known.items()))
        account = f"user = {ACCOUNT}\n" if os.geteuid() == 0 else ""
        (folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                host=at.hostname,
                port=at.port,
                loopback=LOOPBACK,
                listens=self._port,
                mode=mode,
                users=folder / "users.txt",
                admin=CONSOLE,
                more=account + more,
            )
        )
        _own(folder)
        program, environment = find_pgbouncer()
        argv = [str(program), str(folder / "pgbouncer.ini")]
        self.process: Process = run.start(Command(PACKAGE, argv, folder, run.environment(environment), signal.SIGINT))
        until(self._answers, within_s=START_S, what="PgBouncer to answer")

    @property
    def address(self) -> str:
        """Its `host:port`."""
        return f"{LOOPBACK}:{self._port}"

    def led(self, dsn: str) -> str:
        """Return the DSN of the same user and database through the pooler."""
        parts = urlsplit(dsn)
        return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{self.address}").geturl()

    def shows(self, what: str) -> list[tuple[object, ...]]:
        """Return what its console says to `SHOW {what}`."""
        console = f"postgresql://{CONSOLE}:{self._admin}@{self.address}/pgbouncer"
        with psycopg.connect(console, autocommit=True) as session:
            return session.execute(f"SHOW {what}".encode()).fetchall()

    def _answers(self) -> bool:
        self.process.check()
        try:
            self.shows("VERSION")
        except psycopg.OperationalError:
            return False
        return True


def find_pgbouncer() -> tuple[Path, dict[str, str]]:
    """Return the program and what it is started with; one that is missing is unpacked into the user's cache.

    Raises:
        PackagesUnobtainableError: it cannot be had here; says why.
    """
    installed = shutil.which(PACKAGE, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if installed is not None:
        return Path(installed), {}
    cache = platformdirs.user_cache_path("paidonce")
    folder = cache / debian.folder_name(PACKAGE)
    program = folder / "usr/sbin" / PACKAGE
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{PACKAGE}-lock"):
            if not program.is_file():
                debian.unpack([PACKAGE], folder)
    if not program.is_file():
        raise PackagesUnobtainableError(f"Debian's package {PACKAGE} has no usr/sbin/{PACKAGE} any more")
    return program, {"LD_LIBRARY_PATH": ":".join(map(str, sorted((folder / "usr/lib").glob("*-linux-gnu*"))))}


def _secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _own(folder: Path) -> None:
    """Let the account read its configuration again."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(ACCOUNT)
        for path in (folder, *folder.iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)


if __name__ == "__main__":
    try:
        print(f"pgbouncer: {find_pgbouncer()[0]}")
    except PackagesUnobtainableError as error:
        sys.exit(f"make test-pgbouncer cannot run here: {error}")
