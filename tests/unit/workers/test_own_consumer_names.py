"""What cannot be a consumer of one's own is refused before any server is asked."""

import pytest

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import consumer


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("stock", {}, "--handlers or --push"),
        ("ledger", {"modules": ["shop"]}, "Paidonce's own"),
        ("stock", {"modules": ["shop"], "pushes": ["order.placed=http://127.0.0.1"]}, "not both"),
        ("stock", {"pushes": ["order.placed=http://127.0.0.1/"]}, "PAIDONCE_PUSH_SECRET"),
        ("stock", {"modules": ["no_such_shop"]}, "there is no module no_such_shop"),
    ],
)
def test_what_cannot_be_a_consumer_is_refused_with_what_to_do(name, options, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        consumer.main(Settings(), name, **options)
