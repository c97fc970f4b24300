"""When do we try again? The only module that knows tenacity.

Every retry is bounded by count or by time, is jittered (so that a crowd does not come back as
a crowd), and names what it retries on.
"""

import random
from collections.abc import AsyncIterator, Iterator

import tenacity


def attempts(
    *on: type[BaseException], count: int, first_s: float = 0.05, most_s: float = 1.0
) -> Iterator[tenacity.AttemptManager]:
    """Yield up to `count` attempts (`for attempt in …: with attempt: …`), then raise the last error."""
    return iter(
        tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(on),
            stop=tenacity.stop_after_attempt(count),
            wait=tenacity.wait_random_exponential(multiplier=first_s, max=most_s),
            reraise=True,
        )
    )


def attempts_async(
    *on: type[BaseException], count: int, first_s: float = 0.05, most_s: float = 1.0
) -> AsyncIterator[tenacity.AttemptManager]:
    """Yield up to `count` attempts for `async for`, then raise the last error."""
    return aiter(
        tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(on),
            stop=tenacity.stop_after_attempt(count),
            wait=tenacity.wait_random_exponential(multiplier=first_s, max=most_s),
            reraise=True,
        )
    )


def backoff_s(attempt: int, *, first_s: float, most_s: float) -> float:
    """Return the seconds to wait before attempt number `attempt` + 1: exponential, with jitter over the upper half.

    For retries that live in the database (effects, parked messages), where the next attempt
    is a column and not a sleep.
    """
    full_s = min(most_s, first_s * 2.0 ** min(attempt, 30))
    return full_s * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret


def full_jitter_s(attempt: int, *, first_s: float, most_s: float) -> float:
    """Return the seconds to wait after failure number `attempt` + 1: exponential, with jitter over the whole of it.

    For those who are many and all wait for one server: spread out, they come back one by one.
    """
    return random.uniform(0.0, min(most_s, first_s * 2.0 ** min(attempt, 30)))  # noqa: S311  jitter, not a secret
