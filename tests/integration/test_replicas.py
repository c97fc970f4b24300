"""Four replicas, no stickiness, one after the other killed: does a client notice more than a broken connection?"""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from paidonce.chaos.stateless import __main__ as demonstration
from paidonce.chaos.stateless import remembering
from paidonce.chaos.stateless.__main__ import conversation_with, kills_of, remembering_replicas, talk
from paidonce.chaos.stateless.conversation import AMOUNT, REFUND
from paidonce.devstack.stack import Stack

REPLICAS = 4
CUSTOMERS = 10
LIMIT = {"rate_limit_subject": "100000/minute", "rate_limit_tenant": "1000000/minute"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(replicas=REPLICAS, durable=False, overrides=LIMIT) as started:
        yield started


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as rows:
        found = rows.execute(query.encode()).fetchone()
    assert found is not None
    return found[0]


def test_no_customer_notices_which_replica_answers_or_dies(stack: Stack) -> None:
    apis = stack.addresses.apis
    result = asyncio.run(talk(apis, conversation_with(stack), kill=kills_of(stack), sticky=False, customers=CUSTOMERS))
    assert result.faults == []
    assert result.done == CUSTOMERS
    assert set(result.tally.answers) == set(apis), "a replica answered nobody: nothing is proven"
    assert result.kills >= 2, "no replica was killed: nothing is proven"
    dsn = stack.addresses.dsn
    assert one(dsn, "SELECT count(*) FROM payments") == CUSTOMERS, "a customer has paid twice, or not"
    assert one(dsn, "SELECT count(*) FROM cart_checkouts") == CUSTOMERS
    assert one(dsn, "SELECT count(*) FROM refunds WHERE status = 'succeeded'") == CUSTOMERS
    assert one(dsn, "SELECT sum(amount - amount_refunded) FROM payments") == CUSTOMERS * (AMOUNT - REFUND)


@pytest.mark.slow
def test_a_server_that_remembers_loses_them() -> None:
    with remembering_replicas(REPLICAS) as (urls, kill):
        anywhere = asyncio.run(talk(urls, remembering.converse, kill=None, sticky=False, customers=CUSTOMERS))
        alone = asyncio.run(talk(urls[:1], remembering.converse, kill=None, sticky=False, customers=CUSTOMERS))
        sticky = asyncio.run(talk(urls, remembering.converse, kill=kill, sticky=True, customers=40))
    assert alone.done == CUSTOMERS, "one replica alone is right"
    assert anywhere.done < CUSTOMERS
    assert "401" in anywhere.faults[0]
    assert sticky.kills
    assert sticky.done < 40


@pytest.mark.slow
def test_the_demonstration_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert demonstration.main() == 0
    assert "Paidonce: 40 of 40 customers served" in capfd.readouterr().out
