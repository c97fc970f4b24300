"""How does the installation stop waiting for a consumer that was removed for good? (docs/design.md, "Retention")"""

from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import readers, starts
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker_lag import members
from paidonce.workers.consumer_member import group_of
from paidonce.workers.readings import topics_read


def forget(settings: Settings, consumer: str) -> None:
    """Keep nothing for `consumer` any more. One that starts again counts again from that moment.

    Raises:
        ConfigurationError: nobody waits for it, or it still runs.
        BrokerAwayError: Kafka did not say whether it still runs.
    """
    running = members(settings, group_of(settings, consumer))
    if running:
        raise ConfigurationError(f"consumer {consumer} still runs ({running} in its group): stop it first")
    bind = db.engine(settings, size=1)
    try:
        known = _forget(bind, settings, consumer)
    finally:
        bind.dispose()
    if consumer not in known:
        raise ConfigurationError(f"nothing is kept for a consumer {consumer}, only for {', '.join(known) or 'nobody'}")


@step("forgetting.forget")
def _forget(bind: Engine, settings: Settings, consumer: str) -> list[str]:
    """Return for whom something was kept until now."""
    with db.begin(bind) as tx:
        known = topics_read(tx, settings)
        topic = known.get(consumer, settings.topic)
        readers.forget(tx, topic, consumer)
        starts.forget(tx, consumer=consumer, topic=topic)
    return sorted(known)
