"""Which consumers are there, and how does one start? `paidonce consumer NAME` (docs/design.md, "Processes")."""

import gc

from paidonce.app import db
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.settings import Settings
from paidonce.workers import charges, ledger, notifications, retention, runner
from paidonce.workers.consumer_member import Member, is_transient

#: Objects made before Python's collector looks through the young ones, by default 700. A batch makes tens of thousands
#: that all die with it, and looking through them again and again takes a fifth of a consumer's time.
YOUNG_OBJECTS = 20_000

SUBSCRIBERS = {one.name: one for one in (charges.SUBSCRIBER, ledger.SUBSCRIBER, notifications.SUBSCRIBER)}


def main(settings: Settings, name: str) -> None:
    """Run the consumer `name` until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: there is no such consumer, or the inbox forgets too early, or the topic never came.
    """
    if name not in SUBSCRIBERS:
        raise ConfigurationError(f"there is no consumer {name!r}: it is one of {', '.join(sorted(SUBSCRIBERS))}")
    serve(settings, SUBSCRIBERS[name])


def serve(settings: Settings, subscriber: Subscriber) -> None:
    """Run `subscriber`, one of ours or your own, on the topic of the settings; ends and raises as `main` does."""
    retention.check(settings)
    bind = db.engine(settings, lock_timeout_ms=settings.consumer_lock_timeout_ms, silence_s=db.WORKER_ANSWER_S)
    process = runner.start(f"consumer-{subscriber.name}", settings, bind)
    member = Member(settings, bind, subscriber)
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        runner.run(process, member.run_once, idle_s=0, is_transient=is_transient)
    finally:
        member.close()
        bind.dispose()
