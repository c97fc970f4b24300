"""Of three brokers one no longer hears of the others, while clients reach all three: is all well once it is healed?"""

from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from paidonce.chaos import tables, witnesses
from paidonce.chaos.nemeses.network import network
from paidonce.chaos.proxy.client import Proxies
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.failover, pytest.mark.timeout(240)]

#: Payments of each broker's partition, and seconds until they are final after the healing: some on a quiet machine.
PAYMENTS, FINAL_S = 10, 60.0


@pytest.fixture(scope="module")
def led() -> Iterator[tuple[Stack, Proxies]]:
    with Proxies() as proxies, Stack(brokers=3, durable=False, detour=proxies.detour) as stack:
        yield stack, proxies


def test_brokers_that_were_cut_off_lose_and_repeat_nothing(led: tuple[Stack, Proxies]) -> None:
    stack, proxies = led
    headers = {"Authorization": f"Bearer {stack.token(ttl=3600)}"}
    body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}
    with httpx.Client(headers=headers, timeout=10.0, trust_env=False) as http:
        for target in ("kafka-1", "kafka-2", "kafka-3"):
            with network("broker_partition", proxies, target, {}) as struck:
                assert f"{target}-peers" in struck
                for _ in range(PAYMENTS):
                    url = stack.addresses.api + "/v1/payments"
                    assert http.post(url, json=body, headers={"Idempotency-Key": str(uuid4())}).status_code == 201
            with tables.connect(stack.addresses.dsn) as connection:
                until(lambda: not tables.unfinished(connection), within_s=FINAL_S, what="everything to be final")
    with tables.connect(stack.addresses.dsn) as connection:
        events = [event.id for event in tables.tables(connection)["events"]]
    topic = witnesses.topic(stack.addresses.kafka, stack.settings.topic)
    assert Counter(record.message_id for record in topic) == dict.fromkeys(events, 1)
