"""Four replicas, no stickiness, one after the other killed: does a client notice more than a broken connection?"""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from paidonce.chaos.stateless import __main__ as demonstration
from paidonce.chaos.stateless import remembering
from paidonce.chaos.stateless.__main__ import (
    Kill,
    Result,
    conversation_with,
    kills_of,
    remembering_replicas,
    talk,
)
from paidonce.chaos.stateless.conversation import AMOUNT, REFUND
from paidonce.devstack.stack import Stack

REPLICAS = 4
CUSTOMERS = 10
#: What a customer leaves behind, and how much of it.
PER_CUSTOMER = {
    "SELECT count(*) FROM payments": 1,
    "SELECT count(*) FROM cart_checkouts": 1,
    "SELECT count(*) FROM refunds WHERE status = 'succeeded'": 1,
    "SELECT coalesce(sum(amount - amount_refunded), 0)::bigint FROM payments": AMOUNT - REFUND,
}
LIMIT = {"rate_limit_subject": "100000/minute", "rate_limit_tenant": "1000000/minute"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(
        replicas=REPLICAS, durable=False, overrides=LIMIT, logins_per_minute=demonstration.LOGINS_PER_MINUTE
    ) as started:
        yield started


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as rows:
        found = rows.execute(query.encode()).fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize(("kills", "together"), [(2, 3), pytest.param(10, 8, marks=pytest.mark.slow)])
def test_no_customer_notices_which_replica_answers_or_dies(stack: Stack, kills: int, together: int) -> None:
    apis, ours, dsn = stack.addresses.apis, conversation_with(stack), stack.addresses.dsn
    before = {query: one(dsn, query) for query in PER_CUSTOMER}
    die = kills_of(stack)
    result = asyncio.run(talk(apis, ours, kill=die, kills=kills, sticky=False, customers=CUSTOMERS, together=together))
    assert result.faults == []
    assert set(result.tally.answers) == set(apis), "a replica answered nobody: nothing is proven"
    assert result.tally.broken, "nobody met a dead replica: nothing is proven"
    for query, each in PER_CUSTOMER.items():
        assert one(dsn, query) - before[query] == result.came * each, f"a customer has paid twice, or not: {query}"


@pytest.mark.slow
def test_a_server_that_remembers_loses_them() -> None:
    async def talked(urls: list[str], kill: Kill | None = None, *, kills: int = 0, sticky: bool = False) -> Result:
        return await talk(urls, remembering.converse, kill=kill, kills=kills, sticky=sticky, customers=CUSTOMERS)

    with remembering_replicas(REPLICAS) as (urls, kill):
        assert asyncio.run(talked(urls[:1])).faults == [], "one server alone is right"
        anywhere = asyncio.run(talked(urls))
        sticky = asyncio.run(talked(urls, kill, kills=REPLICAS, sticky=True))
    assert "401" in anywhere.faults[0]
    assert "401" in sticky.faults[0]


@pytest.mark.slow
def test_the_demonstration_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert demonstration.main() == 0
    assert demonstration.OURS in capfd.readouterr().out
