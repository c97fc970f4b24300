"""How does a relay run? Pass after pass, and between passes asleep until a hint or its poll's time."""

import gc

from paidonce.app import db
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import runner
from paidonce.workers.aside import LeftBehindError
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.relay_session import WRONG_SERVER
from paidonce.workers.relay_shards import Relay
from paidonce.workers.relay_wake import Waker

#: New objects between collections of garbage: a window makes ten for each event, none of them in a cycle.
GARBAGE_OBJECTS = 100_000


def main(settings: Settings) -> None:
    """Run a relay until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: shards, partitions or the server are not what they were, or CDC publishes already.
    """
    if settings.cdc_slot:
        raise ConfigurationError(
            f"Debezium publishes the outbox (PAIDONCE_CDC_SLOT={settings.cdc_slot}): a relay beside it would send "
            "every event a second time; to come back to the relay see docs/cdc.md"
        )
    gc.set_threshold(GARBAGE_OBJECTS)
    bind = db.engine(settings, silence_s=db.WORKER_ANSWER_S, direct=True)
    process = runner.start("relay", settings, bind)
    waker = Waker(db.libpq_dsn(settings, direct=True), process.stop)
    relay = Relay(settings, bind, process.stop)

    def idle(seconds: float) -> object:
        return waker.wait(min(seconds, relay.patience_s))

    try:
        runner.run(process, relay.run_once, idle_s=settings.relay_poll_s, idle=idle, is_transient=is_transient)
    finally:
        relay.close()
        waker.close()
        bind.dispose()


def is_transient(error: BaseException) -> bool:
    """Tell whether the relay may go on after `error`, later."""
    return db.is_transient(error) or isinstance(error, (BrokerAwayError, LeftBehindError, *WRONG_SERVER))
