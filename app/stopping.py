"""How long may a stop take? As long as the settings say, whoever is waited for; then the process ends as it is.

What it would have finished is as after a kill, and every safeguard is made for that: a lease runs out, a
transaction rolls back, an effect without an answer is unknown (docs/operations.md, "Stopping").
"""

import os
import sys
import threading
import traceback
from threading import Thread
from time import sleep

import structlog

#: Seconds for the last line in the log: whoever reads it may be what is waited for.
TELL_S = 1.0


class Stopping:
    """The bound of one process's stop."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._begun = False

    def count_down(self) -> None:
        """Count from now on; a second time changes nothing. Call it from a signal handler, too."""
        if not self._begun:
            self._begun = True
            Thread(target=self._give_up, name="stopping", daemon=True).start()

    def _give_up(self) -> None:
        sleep(self._within_s)
        teller = Thread(target=self._tell, name="stopping-tells", daemon=True)
        teller.start()
        teller.join(TELL_S)
        # No clean-up: that is what may be waiting.
        os._exit(0)

    def _tell(self) -> None:
        structlog.get_logger().warning("stop_given_up", after_s=self._within_s, waited_in=_where())


def _where() -> str:
    """Name the line that the main thread stands at."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001  public by its documentation
    return ", ".join(f"{one.name} ({one.filename}:{one.lineno})" for one in traceback.extract_stack(frame)[-3:])
