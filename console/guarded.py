"""How does a request come to its page? The one way there, so that no route can forget a check."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from paidonce.console.desk import Desk, desk_of
from paidonce.console.visit import Visit, form_of, visit_of

#: Makes a page, or does what its form says, in a thread: what it asks may keep it waiting.
Page = Callable[[Desk, Visit], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def shown(page: Page) -> Endpoint:
    """Return the endpoint of a page that an operator may see."""

    async def answer(request: Request) -> Response:
        desk = desk_of(request)
        return await run_in_threadpool(page, desk, await visit_of(desk, request))

    return answer


def done(page: Page) -> Endpoint:
    """Return the endpoint of something that an operator may do, by a form of their own session."""

    async def answer(request: Request) -> Response:
        desk = desk_of(request)
        visit = await visit_of(desk, request)
        form = await form_of(request)
        desk.sessions.check_form(request, visit.session, form.pop("form_token", ""))
        return await run_in_threadpool(page, desk, replace(visit, form=form))

    return answer
