"""Does the inbox remember a message for longer than it can come back? Refused at the start when it does not."""

from datetime import timedelta

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings


def check(settings: Settings, *, topic: timedelta | None = None, segment: timedelta | None = None) -> None:
    """Refuse settings under which an old redelivery would be new again (docs/design.md, "Retention").

    `topic` and `segment` are the topic's own `retention.ms` and `segment.ms` where they are known;
    otherwise those of a topic that we create.

    Raises:
        ConfigurationError: names every number and its setting.
    """
    parts = {
        "outbox (PAIDONCE_OUTBOX_RETENTION_D)": timedelta(days=settings.outbox_retention_d),
        "topic (retention.ms)": timedelta(days=settings.topic_retention_d) if topic is None else topic,
        "segment (segment.ms)": timedelta(days=settings.topic_segment_d) if segment is None else segment,
        "redrive horizon (PAIDONCE_REDRIVE_HORIZON_D)": timedelta(days=settings.redrive_horizon_d),
        "clock skew (PAIDONCE_CLOCK_SKEW_S)": timedelta(seconds=settings.clock_skew_s),
    }
    inbox = timedelta(days=settings.inbox_retention_d)
    # S15: whoever can send a message again must have forgotten it before the inbox does.
    if inbox <= sum(parts.values(), timedelta()):
        named = " + ".join(f"{name} {length}" for name, length in parts.items())
        raise ConfigurationError(
            f"the inbox forgets after {inbox} (PAIDONCE_INBOX_RETENTION_D), but a message can come back for {named}"
            f" = {sum(parts.values(), timedelta())}: keep the inbox for longer"
        )
