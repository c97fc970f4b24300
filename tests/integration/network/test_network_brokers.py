"""Of three brokers one no longer hears of the others, while clients reach all three: is all well once it is healed?"""

from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from kafka import KafkaAdminClient

from paidonce.chaos import tables, witnesses
from paidonce.chaos.nemeses.network import network
from paidonce.chaos.proxy.client import Proxies
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.failover, pytest.mark.timeout(240)]

#: Payments of each broker's partition, and seconds until they are final: ten on a quiet machine.
PAYMENTS, FINAL_S = 10, 60.0


@pytest.fixture(scope="module")
def led() -> Iterator[tuple[Stack, Proxies]]:
    with Proxies() as proxies, Stack(brokers=3, durable=False, detour=proxies.detour) as stack:
        yield stack, proxies


def test_a_broker_that_is_cut_off_holds_no_payment_up(led: tuple[Stack, Proxies]) -> None:
    """It goes on saying that it leads, and takes and shows nothing new: whoever asks anew learns the truth."""
    stack, proxies = led
    admin = KafkaAdminClient(bootstrap_servers=stack.addresses.kafka.split(","))
    try:
        (quorum,) = admin.describe_metadata_quorum()["topics"]
    finally:
        admin.close()
    # Cut off from the others, the leading controller ends every other broker's work too, and that is Kafka's own.
    following = {1, 2, 3} - {quorum["partitions"][0]["leader_id"]}
    for number in sorted(following):
        with network("broker_partition", proxies, f"kafka-{number}", {}):
            _pay(stack)
            _wait_final(stack)


def test_brokers_that_were_cut_off_lose_and_repeat_nothing(led: tuple[Stack, Proxies]) -> None:
    stack, proxies = led
    for target in ("kafka-1", "kafka-2", "kafka-3"):
        with network("broker_partition", proxies, target, {}) as struck:
            # Whichever of its links has traffic first: to it from others, or to the other controllers from it.
            assert target in struck or f"-from-{target.removeprefix('kafka-')}" in struck
            _pay(stack)
        _wait_final(stack)
    with tables.connect(stack.addresses.dsn) as connection:
        events = [event.id for event in tables.tables(connection)["events"]]
    topic = witnesses.topic(stack.addresses.kafka, stack.settings.topic)
    assert Counter(record.message_id for record in topic) == dict.fromkeys(events, 1)


def _pay(stack: Stack) -> None:
    url, headers = stack.addresses.api + "/v1/payments", {"Authorization": f"Bearer {stack.token(ttl=3600)}"}
    body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}
    with httpx.Client(headers=headers, timeout=10.0, trust_env=False) as http:
        for _ in range(PAYMENTS):
            assert http.post(url, json=body, headers={"Idempotency-Key": str(uuid4())}).status_code == 201


def _wait_final(stack: Stack) -> None:
    with tables.connect(stack.addresses.dsn) as connection:
        until(lambda: not tables.unfinished(connection), within_s=FINAL_S, what="everything to be final")
