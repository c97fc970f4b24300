"""Does everything remember for longer than it can come back? Refused at the start when it does not."""

from datetime import timedelta

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers.broker_topic import Keeps


def comes_back_within(settings: Settings, topic: Keeps | None = None) -> dict[str, timedelta]:
    """Return, by name, for how long a message can come again after its event has left the outbox.

    It may have been published again on the outbox's last day, and have become a dead letter on the
    topic's. `topic` is how that topic keeps its records; otherwise as one does that we create.
    """
    if topic is None:
        topic = Keeps(timedelta(days=settings.topic_retention_d), timedelta(days=settings.topic_segment_d))
    return {
        "topic (retention.ms)": topic.retention,
        "segment (segment.ms)": topic.segment,
        "redrive horizon (PAIDONCE_REDRIVE_HORIZON_D)": timedelta(days=settings.redrive_horizon_d),
        "clock skew (PAIDONCE_CLOCK_SKEW_S)": timedelta(seconds=settings.clock_skew_s),
    }


def check(settings: Settings, topic: Keeps | None = None, *, name: str = "") -> None:
    """Refuse settings under which an old redelivery would be new again (docs/design.md, "Retention").

    `topic` as in `comes_back_within`; `name` is that topic's, by default the one of the settings.

    Raises:
        ConfigurationError: names every number and its setting.
    """
    if topic is not None and topic.why_for_ever:
        raise ConfigurationError(
            f"the inbox forgets after {settings.inbox_retention_d} days (PAIDONCE_INBOX_RETENTION_D), but topic "
            f"{name or settings.topic} keeps records for ever ({topic.why_for_ever}): set cleanup.policy=delete and a "
            f"retention.ms, {timedelta(days=settings.topic_retention_d) // timedelta(milliseconds=1)} for "
            f"{settings.topic_retention_d} days"
        )
    outbox = {"outbox (PAIDONCE_OUTBOX_RETENTION_D)": timedelta(days=settings.outbox_retention_d)}
    parts = outbox | comes_back_within(settings, topic)
    inbox = timedelta(days=settings.inbox_retention_d)
    # S15: whoever can send a message again must have forgotten it before the inbox does.
    if inbox <= sum(parts.values(), timedelta()):
        named = " + ".join(f"{name} {length}" for name, length in parts.items())
        raise ConfigurationError(
            f"the inbox forgets after {inbox} (PAIDONCE_INBOX_RETENTION_D), but a message can come back for {named}"
            f" = {sum(parts.values(), timedelta())}: keep the inbox for longer"
        )


def check_keys(settings: Settings) -> None:
    """Refuse settings under which a client that still repeats its request gets no answer to it.

    It would not pay twice: an expired key is refused for PAIDONCE_IDEMPOTENCY_TOMBSTONE_D more.

    Raises:
        ConfigurationError: names both numbers.
    """
    kept, horizon = settings.idempotency_money_retention_h, settings.client_retry_horizon_h
    if kept <= horizon:
        raise ConfigurationError(
            f"responses are kept for {kept} hours (PAIDONCE_IDEMPOTENCY_MONEY_RETENTION_H), but clients may repeat a "
            f"request for {horizon} (PAIDONCE_CLIENT_RETRY_HORIZON_H): keep them for longer"
        )
