"""Who am I? What the token says, from the token alone: no server behind the API is asked."""

from paidonce.app.api import examples
from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Me
from paidonce.app.documents import as_json


async def get(call: Call) -> Reply:
    """Show the caller's subject, tenant, rights, and when its token expires."""
    principal = call.principal
    document = {
        "sub": principal.sub,
        "tenant": principal.tenant,
        "scopes": sorted(principal.scopes),
        "roles": sorted(principal.roles),
        "expires_at": principal.expires_at,
    }
    return Reply(200, as_json(document))


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/me",
        handler=get,
        tag="me",
        summary="Show who the token says you are",
        answers={200: Me},
        example=examples.ME,
        limited=False,
    ),
)
