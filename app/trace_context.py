"""In which trace is what happens now? The `traceparent` of its request or message, carried beside the work.

What is done for one caller is one trace, from the request to the webhook: events, messages and effects hand its
`traceparent` on (W3C Trace Context), whether spans are made or not. Where a batch meets, each member has its own.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType

#: The one header that carries it, in outbox, on the topic, and over HTTP.
HEADER = "traceparent"
#: What is well-formed, as far as version 00 goes; the trace's id is its one group (W3C Trace Context, section 3.2).
FORM = r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_WELL_FORMED = re.compile(FORM)

#: As it came -> as it is now: the same, or that of the innermost span made of it (app/tracing.py). One entry is one
#: trace; of several each is a member's. Under the empty name is what belongs to no trace that came.
Traces = Mapping[str, str]
#: Those of a batch are only looked for where somebody makes spans.
Carried = Traces | Callable[[], Traces]

_NOWHERE: Traces = MappingProxyType({})
_carried: ContextVar[Carried] = ContextVar("carried", default=_NOWHERE)


class _Within:
    """Carries some traces while its `with` block lasts; a class because it is entered for each message."""

    __slots__ = ("_carried", "_token")

    def __init__(self, carried: Carried) -> None:
        self._carried = carried

    def __enter__(self) -> None:
        self._token: Token[Carried] = _carried.set(self._carried)

    def __exit__(self, *_: object) -> None:
        _carried.reset(self._token)


def within(traceparent: str | None) -> _Within:
    """Let what happens inside be in the trace of `traceparent`, which may be a member of the batch around it."""
    came, around = _checked(traceparent), _carried.get()
    return _Within({came: came if callable(around) else around.get(came, came)})


def within_all(find: Callable[[], Iterable[str | None]]) -> _Within:
    """Let what happens inside be in each of the traces that `find` returns; it is called only if spans are made."""
    around = _carried.get()

    def traces() -> Traces:
        before = around() if callable(around) else around
        found = {came: before.get(came, came) for came in map(_checked, find())}
        return found if len(found) == 1 else {"": before.get("", "")} | found

    return _Within(traces)


def traces() -> Traces:
    """Return what is carried."""
    carried = _carried.get()
    return carried() if callable(carried) else carried


def exchange(carried: Carried) -> Carried:
    """Carry that from now on; return what was carried before. For who makes spans."""
    before = _carried.get()
    _carried.set(carried)
    return before


def current() -> str:
    """Return the one `traceparent` of what happens now; empty outside any trace, and in a batch of several."""
    return _one()[1]


def span() -> str:
    """Return the same if it is a span of ours; empty when no spans are made."""
    came, now = _one()
    return now if now != came else ""


def headers() -> dict[str, str]:
    """Return the header that hands the trace on; none outside any."""
    now = current()
    return {HEADER: now} if now else {}


def words() -> dict[str, str]:
    """Return what joins a line in the log with the trace: `trace_id`, and `span_id` when it is a span of ours."""
    came, now = _one(or_of_the_batch=True)
    if not now:
        return {}
    return {"trace_id": now[3:35]} | ({"span_id": now[36:52]} if now != came else {})


def _checked(traceparent: str | None) -> str:
    """Whoever writes to the topic writes this header: what is none is not handed on."""
    return traceparent if traceparent and _WELL_FORMED.fullmatch(traceparent) else ""


def _one(*, or_of_the_batch: bool = False) -> tuple[str, str]:
    carried = _carried.get()
    if callable(carried):
        return "", ""
    if len(carried) == 1:
        return next(iter(carried.items()))
    return "", carried.get("", "") if or_of_the_batch else ""
