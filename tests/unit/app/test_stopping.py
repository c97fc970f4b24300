"""The bound of a stop holds whatever is waited for, whoever reads the log too."""

import os
import subprocess
import sys

#: Fills the pipe of its log, which nobody reads, and would stand there for ever.
STUCK = """
import sys
from paidonce.app import log
from paidonce.app.stopping import Stopping
log.configure("stuck", "INFO")
Stopping(0.1).count_down()
while True:
    sys.stderr.buffer.write(b"x" * 65536)
"""


def test_a_log_that_nobody_reads_holds_no_stop() -> None:
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen([sys.executable, "-c", STUCK], stderr=writing)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait(30)
    finally:
        os.close(reading)
        os.close(writing)
