"""What no topic or consumer would take is refused where it is written, before any table is touched."""

import pytest

from paidonce import outbox
from paidonce.app.errors import ConfigurationError


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (("placed", "o-1", b"{}"), {}, "no event type"),
        (("Order.placed", "o-1", b"{}"), {}, "no event type"),
        (("order.placed\n", "o-1", b"{}"), {}, "no event type"),
        (("payment.captured", "o-1", b"{}"), {}, "Paidonce's own"),
        (("order.placed", "", b"{}"), {}, "the key must be the id of a order"),
        (("order.placed", "o\0", b"{}"), {}, "without NUL"),
        (("order.placed", "o-1", b"{}"), {"headers": {"Message-ID": "1"}}, "the header Message-ID"),
        (("order.placed", "o-1", b"{}"), {"headers": {"ce_type": "a"}}, "the header ce_type"),
        (("order.placed", "o-1", b"x" * 1_000_001), {}, "PAIDONCE_MESSAGE_BYTES_MAX"),
    ],
)
def test_what_no_topic_or_consumer_would_take_is_refused_where_it_is_written(arguments, more, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        outbox.append(None, *arguments, **more)
