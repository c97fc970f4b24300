"""How is one object of ours found among all of Stripe's? By lists, page by page: what was made is in them at once.

Refunds are listed by their PaymentIntent. PaymentIntents have no such handle, so they are listed by the time in which
we sent: first up to the end of the last attempt, where it almost surely is, then whatever was made later.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil, floor
from typing import Any

import orjson
import stripe
from stripe.params import PaymentIntentListParams, PaymentIntentListParamsCreated, RefundListParams

from paidonce.app.payments import stripe_objects
from paidonce.app.payments.provider import Sought

#: Objects of one page: Stripe's most.
PAGE = 100


async def intents(client: stripe.StripeClient, sought: Sought, *, skew: timedelta) -> list[Mapping[str, Any]]:
    """Return the PaymentIntents under our reference; `skew`: by how much Stripe's clock may differ from ours.

    Raises:
        UnansweredError, stripe.StripeError: a page was not had, so nothing can be said.
        ValueError, TypeError, KeyError: a page is no list of Stripe's.
    """
    for created in _times(sought.since - skew, sought.until and sought.until + skew):
        wanted: PaymentIntentListParams = {"limit": PAGE, "created": created}
        found = _ours([one async for one in _intents(client, wanted)], sought)
        if found:
            return found
    return []


async def refunds(client: stripe.StripeClient, sought: Sought) -> list[Mapping[str, Any]]:
    """Return the refunds under our reference. Raises as `intents` does."""
    wanted: RefundListParams = {"limit": PAGE, "payment_intent": orjson.loads(sought.request)["charge"]}
    return _ours([one async for one in _refunds(client, wanted)], sought)


def _ours(listed: Sequence[Mapping[str, Any]], sought: Sought) -> list[Mapping[str, Any]]:
    return [one for one in listed if stripe_objects.reference(one) == sought.reference]


async def _intents(client: stripe.StripeClient, wanted: PaymentIntentListParams) -> AsyncIterator[Mapping[str, Any]]:
    more = True
    while more:
        listed, more = _page(await client.v1.payment_intents.list_async(wanted))
        for one in listed:
            yield one
            wanted["starting_after"] = one["id"]


async def _refunds(client: stripe.StripeClient, wanted: RefundListParams) -> AsyncIterator[Mapping[str, Any]]:
    more = True
    while more:
        listed, more = _page(await client.v1.refunds.list_async(wanted))
        for one in listed:
            yield one
            wanted["starting_after"] = one["id"]


def _page(answered: Any) -> tuple[list[Mapping[str, Any]], bool]:
    """Return a page, and whether there are more; an answer that could be anything else proves no absence."""
    document = answered.last_response.data
    listed, more = document["data"], document["has_more"]
    if not isinstance(listed, list) or not isinstance(more, bool) or (more and not listed):
        raise ValueError("not a list of Stripe's")
    return listed, more


def _times(since: datetime, until: datetime | None) -> Iterator[PaymentIntentListParamsCreated]:
    """Yield filters on `created`, whole seconds since 1970, that together leave no time out."""
    begin = floor(since.timestamp())
    if until is None:
        yield {"gte": begin}
        return
    end = ceil(until.timestamp())
    yield {"gte": begin, "lte": end}
    yield {"gt": end}
