"""Where do a tenant's events go? One endpoint a tenant, over HTTP; its secret goes in and never comes out."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from paidonce.app.api import examples
from paidonce.app.api.conditions import check_match, check_none_match, etag_of, matches_weakly
from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.payments import ETAG
from paidonce.app.api.problems import InvalidBodyError, MemberError
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import WebhookEndpoint, WebhookEndpointPut
from paidonce.app.api.transactions import read, write
from paidonce.app.documents import as_json
from paidonce.app.errors import NotFoundError, PreconditionFailedError, UnprocessableError
from paidonce.app.webhooks import endpoints

_PATH = "/v1/webhook-endpoint"
Check = Callable[[endpoints.Endpoint | None], None]


async def put(call: Call) -> Reply:
    """Set where the tenant's events go; the same again changes nothing."""
    check = _preconditions(call)
    wanted = await call.draft(WebhookEndpointPut)
    private = call.services.settings.webhook_private_addresses
    try:
        endpoint, created = await write(call.services.engine, _put, call.tenant, wanted, private, check)
    except UnprocessableError as error:
        member, _, detail = str(error).partition(": ")
        raise InvalidBodyError([MemberError(pointer=f"/{member}", detail=detail)]) from error
    body, etag = _representation(endpoint)
    if created:
        return Reply(201, body, {"ETag": etag, "Location": _PATH})
    return Reply(200, body, {"ETag": etag})


def _put(
    tx: Connection, tenant: str, wanted: WebhookEndpointPut, private: bool, check: Check
) -> tuple[endpoints.Endpoint, bool]:
    endpoints.lock(tx, tenant)
    found = endpoints.get(tx, tenant)
    check(found)
    events = None if wanted.events is None else tuple(sorted(set(wanted.events)))
    if found is not None and (found.url, found.secret, found.events) == (wanted.url, wanted.secret, events):
        return found, False
    return endpoints.put(tx, tenant, url=wanted.url, secret=wanted.secret, events=events, private_addresses=private)


async def get(call: Call) -> Reply:
    """Show where the tenant's events go, without the secret."""
    endpoint = await read(call.services.engine, endpoints.get, call.tenant)
    if endpoint is None:
        raise NotFoundError
    body, etag = _representation(endpoint)
    if matches_weakly(call.tags("If-None-Match"), etag):
        return Reply(304, headers={"ETag": etag})
    return Reply(200, body, {"ETag": etag})


async def delete(call: Call) -> Reply:
    """Send the tenant's events nowhere; a second time changes nothing."""
    await write(call.services.engine, _delete, call.tenant, _preconditions(call))
    return Reply(204)


def _delete(tx: Connection, tenant: str, check: Check) -> None:
    endpoints.lock(tx, tenant)
    check(endpoints.get(tx, tenant))
    endpoints.remove(tx, tenant)


def _representation(endpoint: endpoints.Endpoint) -> tuple[bytes, str]:
    body = as_json(
        {
            "object": "webhook_endpoint",
            "url": endpoint.url,
            "events": endpoint.events,
            "created_at": endpoint.created_at,
            "updated_at": endpoint.updated_at,
        }
    )
    return body, etag_of(body)


def _preconditions(call: Call) -> Check:
    """Return what must hold for the endpoint that is there, None where there is none."""
    if_match, if_none_match = call.tags("If-Match"), call.tags("If-None-Match")

    def check(endpoint: endpoints.Endpoint | None) -> None:
        etag = None if endpoint is None else _representation(endpoint)[1]
        check_match(if_match, etag)
        check_none_match(if_none_match, etag)

    return check


_ANY: dict[str, Any] = {"path": _PATH, "tag": "webhook-endpoint"}
OPERATIONS = (
    Operation(
        **_ANY,
        method="PUT",
        handler=put,
        summary="Set the webhook endpoint",
        body=WebhookEndpointPut,
        body_example=examples.WEBHOOK_ENDPOINT_PUT,
        headers=("If-Match?", "If-None-Match"),
        answers={200: WebhookEndpoint, 201: WebhookEndpoint},
        example=examples.WEBHOOK_ENDPOINT,
        answer_headers={"ETag": ETAG, "Location": "Where a new endpoint is."},
        problems=(PreconditionFailedError,),
    ),
    Operation(
        **_ANY,
        method="GET",
        handler=get,
        summary="Get the webhook endpoint",
        headers=("If-None-Match",),
        answers={200: WebhookEndpoint, 304: None},
        example=examples.WEBHOOK_ENDPOINT,
        answer_headers={"ETag": ETAG},
        problems=(NotFoundError,),
    ),
    Operation(
        **_ANY,
        method="DELETE",
        handler=delete,
        summary="Delete the webhook endpoint",
        headers=("If-Match?",),
        answers={204: None},
        problems=(PreconditionFailedError,),
    ),
)
