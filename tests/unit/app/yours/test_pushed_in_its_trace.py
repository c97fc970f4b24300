"""Is each message that is pushed in its own trace, however many went over the same connection before?"""

import httpx
import pytest

from paidonce.app import trace_context
from paidonce.app.clock import SystemClock
from paidonce.app.messaging import http_call
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.outcomes import Done
from paidonce.app.settings import Settings
from paidonce.app.yours.push import Pusher
from paidonce.devstack.pace import new_secret

A, B = (f"00-{name * 32}-{name * 16}-01" for name in "ab")


def test_a_push_is_in_the_trace_of_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def call_once(*_: object, **__: object) -> http_call.Reply:
        seen.append(trace_context.current())
        return http_call.Reply(200, httpx.Headers(), b"", complete=True)

    monkeypatch.setattr(http_call, "call_once", call_once)
    pusher = Pusher(Settings(push_secret=new_secret()), SystemClock())
    try:
        for traceparent in (A, B):
            with trace_context.within(traceparent):
                outcome = pusher.push("http://127.0.0.1:1/placed", Message("m-1", "order.placed", "o-1", b"{}", {}))
                assert outcome == Done()
    finally:
        pusher.close()
    assert seen == [A, B]
