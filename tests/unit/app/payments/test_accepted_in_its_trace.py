"""Payments that share a statement: is each in its own trace, and none in that of whoever came first?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from paidonce.app import trace_context
from paidonce.app.payments import store
from paidonce.app.payments.accepting import Accepting
from paidonce.app.payments.store import Accepted
from paidonce.app.settings import Settings
from paidonce.app.unbroken import Unbroken

TRACES = [f"00-{name * 32}-{name * 16}-01" for name in "abcd"]


class Pool:
    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(closed=False)


def wanted(traceparent: str) -> Any:
    return SimpleNamespace(
        payment=SimpleNamespace(id=traceparent), event=SimpleNamespace(headers={"traceparent": traceparent})
    )


async def test_a_statement_is_in_the_traces_of_its_payments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    async def accept(_connection: object, together: list[Any], *, lock_wait_ms: int | None) -> dict[str, Accepted]:
        assert lock_wait_ms is None, "the connection's own"
        await asyncio.sleep(0)  # the others come meanwhile
        found = trace_context.traces()
        assert {now for came, now in found.items() if came} == {one.payment.id for one in together}
        assert not found.get(""), "nobody's own"
        seen.append(set(found) - {""})
        return {one.payment.id: Accepted(claimed=True, customer_known=True) for one in together}

    monkeypatch.setattr(store, "accept", accept)
    accepting = Accepting(Pool(), Unbroken(), Settings())  # type: ignore[arg-type]

    async def request(traceparent: str) -> None:
        # As a span has made it: what came is another name for it.
        trace_context.exchange({"as it came": traceparent, "": "of the first"})
        await accepting.accept(wanted(traceparent))

    await asyncio.gather(*map(request, TRACES))
    assert set().union(*seen) == set(TRACES)
    assert max(map(len, seen)) > 1, "some shared one: else nothing is proven"
