"""How does an NGINX gateway start on this machine? From a folder that `paidonce gateway render nginx` wrote."""

import os
import pwd
import signal
from pathlib import Path

from paidonce.devstack.nginx_packages import find_nginx
from paidonce.devstack.ports import listening
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Seconds until it listens: 0.1 on a quiet machine.
START_S = 30.0
#: Whom the workers run as, when we are root: what nginx was built with.
ACCOUNT = "nobody"


def start_nginx(run: Run, folder: Path, *, port: int, name: str = "nginx") -> Process:
    """Start the gateway in `folder`, and wait until it listens on the loopback `port`.

    Raises:
        PackagesUnobtainableError: there is no nginx here; says why.
        StackError: it did not start; says what nginx said.
    """
    nginx = find_nginx()
    if os.geteuid() == 0:
        entry = pwd.getpwnam(ACCOUNT)
        # The workers write the key sets, and nobody else reads them.
        for path in (folder / "keys", *(folder / "keys").iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    argv = [str(nginx.program), "-p", str(folder), "-c", "nginx.conf", "-g", f"daemon off;{nginx.directives}"]
    process = run.start(Command(name, argv, folder, run.environment(nginx.environment), signal.SIGQUIT))
    until(lambda: _listens(port, process), within_s=START_S, what="nginx to listen")
    return process


def _listens(port: int, process: Process) -> bool:
    process.check()
    return listening(port)
