"""A consumer process for tests: argv is its name and `WHEN:KEY`, what becomes of the messages of one key.

`now` kills the process; `later` parks the message first, and kills the process when it is worked
off; `poison` condemns it; `stop` stops the process in the midst of its transaction, `between` after
the COMMIT and before the offsets (SIGSTOP, at the first of them).
"""

import os
import signal
import sys
from datetime import timedelta

from sqlalchemy import text

from paidonce.app import steps
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outcomes import Done, Poison, RetryLater
from paidonce.app.settings import settings
from paidonce.workers.consumer import serve

NAME, WANTED = sys.argv[1:]
WHEN, _, KEY = WANTED.partition(":")
WAITS = text("SELECT count(*) FROM parked WHERE message_id = :id")
to_stop = ["once"]


def stop() -> None:
    if to_stop:
        to_stop.clear()
        os.kill(os.getpid(), signal.SIGSTOP)


def handler(tx, message):
    if WHEN and message.key == KEY:
        if WHEN == "later" and not tx.scalar(WAITS, {"id": message.message_id}):
            return RetryLater(timedelta(), "later")
        if WHEN in {"now", "later"}:
            os.kill(os.getpid(), signal.SIGKILL)
        if WHEN == "poison":
            return Poison("bad deploy")
    tx.execute(
        text("INSERT INTO worked (message_id, key) VALUES (:id, :key)"), {"id": message.message_id, "key": message.key}
    )
    if WHEN == "stop" and message.key == KEY:
        stop()
    return Done()


class StopBetween:
    """Listens to the steps."""

    def before(self, step: str) -> None:
        if WHEN == "between" and step == "consumer.commit_offsets":
            stop()

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        """Nothing to do after a step."""


steps.listen(StopBetween())
serve(settings(), each(NAME, {"payment.captured": handler}))
