import pytest

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import relay


def test_a_relay_does_not_start_beside_debezium() -> None:
    with pytest.raises(ConfigurationError, match=r"PAIDONCE_CDC_SLOT=paidonce_outbox.*docs/cdc\.md"):
        relay.main(Settings(cdc_slot="paidonce_outbox"))
