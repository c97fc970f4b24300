"""Which consumers are there, and how does one start? `paidonce consumer NAME` (docs/design.md, "Processes")."""

import gc
from collections.abc import Sequence

from paidonce.app import db
from paidonce.app.clock import SystemClock
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.topics import PAYMENT, topic_of
from paidonce.app.settings import Settings
from paidonce.app.yours import handlers, push
from paidonce.workers import charges, ledger, notifications, retention, runner
from paidonce.workers.consumer_member import Member, is_transient

#: Objects made before Python's collector looks through the young ones, by default 700. A batch makes tens of thousands
#: that all die with it, and looking through them again and again takes a fifth of a consumer's time.
YOUNG_OBJECTS = 20_000

SUBSCRIBERS = {one.name: one for one in (charges.SUBSCRIBER, ledger.SUBSCRIBER, notifications.SUBSCRIBER)}


def main(settings: Settings, name: str, *, modules: Sequence[str] = (), pushes: Sequence[str] = ()) -> None:
    """Run the consumer `name` until SIGTERM or SIGINT.

    One of ours, or your own: of the handlers in `modules`, or of the URLs in `pushes`, each `TYPE=URL`.

    Raises:
        ConfigurationError: there is no such consumer, or the inbox forgets too early, or the topic never came.
    """
    if not modules and not pushes:
        if name not in SUBSCRIBERS:
            raise ConfigurationError(
                f"there is no consumer {name!r}: it is one of {', '.join(sorted(SUBSCRIBERS))}, or your own, whose "
                "handlers are named by --handlers or --push"
            )
        serve(settings, SUBSCRIBERS[name])
        return
    if name in SUBSCRIBERS:
        raise ConfigurationError(f"consumer {name} is Paidonce's own: name yours otherwise")
    if modules and pushes:
        raise ConfigurationError(f"consumer {name} has functions or URLs for handlers, not both: make it two consumers")
    if modules:
        serve(settings, _checked(settings, handlers.subscriber(name, handlers.found(modules))))
        return
    pusher = push.Pusher(settings, SystemClock())
    try:
        works = [(type_, push.Pushed(url, pusher)) for type_, url in map(push.wanted, pushes)]
        serve(settings, _checked(settings, handlers.subscriber_of(name, works, alone=True)))
    finally:
        pusher.close()


def _checked(settings: Settings, subscriber: Subscriber) -> Subscriber:
    """Refuse a topic that has two things on it; raises ConfigurationError."""
    about = subscriber.aggregatetype
    if about != PAYMENT and topic_of(settings, about) == settings.topic:
        raise ConfigurationError(
            f"events about {about} would be on {settings.topic}, the topic of payments (PAIDONCE_TOPIC): "
            "set PAIDONCE_OWN_TOPICS, as own-{}s"
        )
    return subscriber


def serve(settings: Settings, subscriber: Subscriber) -> None:
    """Run `subscriber`, one of ours or your own, until SIGTERM or SIGINT; raises as `main` does."""
    retention.check(settings)
    bind = db.engine(settings, lock_timeout_ms=settings.consumer_lock_timeout_ms, silence_s=db.WORKER_ANSWER_S)
    process = runner.start(f"consumer-{subscriber.name}", settings, bind)
    member = Member(settings, bind, subscriber)
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        runner.run(process, member.run_once, idle_s=0, is_transient=is_transient)
    finally:
        member.close()
        bind.dispose()
