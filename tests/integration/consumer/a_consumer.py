"""A consumer process for tests: argv is its name, and `now:KEY` or `later:KEY` for a message that kills it.

With `later` the message is parked first, and kills the process when it is worked off.
"""

import os
import signal
import sys
from datetime import timedelta

from sqlalchemy import text

from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outcomes import Done, RetryLater
from paidonce.app.settings import settings
from paidonce.workers.consumer import serve

NAME, KILLER = sys.argv[1:]


def handler(tx, message):
    when, _, killer = KILLER.partition(":")
    waits = text("SELECT count(*) FROM parked WHERE message_id = :id")
    if message.key == killer and when == "later" and not tx.scalar(waits, {"id": message.message_id}):
        return RetryLater(timedelta(), "later")
    if message.key == killer:
        os.kill(os.getpid(), signal.SIGKILL)
    tx.execute(
        text("INSERT INTO worked (message_id, key) VALUES (:id, :key)"), {"id": message.message_id, "key": message.key}
    )
    return Done()


serve(settings(), each(NAME, {"payment.captured": handler}))
