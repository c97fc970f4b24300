"""Does the console end in time when it is told to, whoever it waits for?"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from paidonce.devstack.pace import environment
from paidonce.devstack.ports import LOOPBACK, free_port

#: Below what the issuer is waited for (FETCH_S of app/auth/jwks.py), and what a busy machine may take.
STOP_S, BUSY_S = 0.2, 60.0


@pytest.mark.slow
def test_an_issuer_that_says_nothing_holds_no_stop(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with socket.create_server((LOOPBACK, 0)) as silent, log.open("wb") as out:
        silent.settimeout(BUSY_S)
        told = {
            "issuer": f"http://{LOOPBACK}:{silent.getsockname()[1]}",
            "console_port": free_port(),
            "console_tenants": '["operations"]',
            "stop_s": STOP_S,
        }
        console = subprocess.Popen(
            [sys.executable, "-m", "paidonce.cli", "console"],
            env=os.environ | environment(told),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            asked, _ = silent.accept()
            with asked:
                console.send_signal(signal.SIGTERM)
                assert console.wait(BUSY_S) == 0, log.read_text()
        finally:
            console.kill()
            console.wait()
    assert "stop_given_up" in log.read_text(), "it waited for the issuer"
