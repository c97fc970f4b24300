"""What is one operation of the API? Its declaration, which both runs it and describes it (OpenAPI)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from paidonce.app.api import body as bodies
from paidonce.app.api.conditions import tags
from paidonce.app.api.problems import InvalidIdError
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Body, Query, body_error
from paidonce.app.api.services import Services
from paidonce.app.api.trace import Trace
from paidonce.app.auth.principal import Principal
from paidonce.app.errors import NotFoundError, Problem

Draft = TypeVar("Draft", bound=Body)
_IDENTIFIER_MAX = 128
_IDENTIFIER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@-")


class Call(Request):
    """A request on its way to its handler: authenticated, authorized, its query checked, its body unread."""

    trace: Trace
    services: Services
    operation: "Operation"
    #: who calls; not set on public operations
    principal: Principal
    #: the checked query; the operation's `query` model
    query: Any = None

    @property
    def tenant(self) -> str:
        """The caller's tenant."""
        return self.principal.tenant

    def uuid(self, name: str) -> UUID:
        """Return the path's UUID; raises NotFoundError for what cannot be one of ours."""
        text = self.path_params[name]
        try:
            found = UUID(text)
        except ValueError as error:
            raise NotFoundError from error
        if name == "payment_id":
            self.trace.payment_id = text
        if str(found) != text:  # one spelling for one resource: the path is part of the request's hash
            raise NotFoundError
        return found

    def identifier(self, name: str) -> str:
        """Return the path's id that the merchant chose; raises InvalidIdError."""
        text: str = self.path_params[name]
        if not 0 < len(text) <= _IDENTIFIER_MAX or not _IDENTIFIER.issuperset(text):
            raise InvalidIdError
        return text

    def tags(self, header: str) -> tuple[str, ...] | None:
        """Return the entity tags of a conditional header; raises InvalidHeaderError."""
        return tags(header, self.headers.getlist(header))

    async def json(self) -> dict[str, Any] | None:
        """Return the body, parsed; None where there is none and none is needed. Raises as app/api/body.py does."""
        operation = self.operation
        raw = await bodies.read(self, self.services.settings.api_body_bytes_max)
        if not raw and operation.body_optional:
            return None
        bodies.check_media_type(self, operation.media_types)
        return bodies.parse(raw)

    async def draft(self, model: type[Draft]) -> Draft:
        """Return the body as `model`; raises InvalidBodyError, or as `json` does."""
        return validated(model, await self.json())


def validated(model: type[Draft], document: dict[str, Any] | None) -> Draft:
    """Return `document` as `model`, without one as the empty object; raises InvalidBodyError."""
    try:
        return model.model_validate({} if document is None else document)
    except ValidationError as error:
        raise body_error(error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one resource."""

    method: str
    #: the route's template
    path: str
    handler: Callable[[Call], Awaitable[Reply]]
    tag: str
    summary: str
    #: status -> model of the answer's body, None where it has none
    answers: Mapping[int, type[BaseModel] | None]
    #: every error of its own; those that any operation may have are added
    problems: Sequence[type[Problem]] = ()
    body: type[BaseModel] | None = None
    body_example: Any = None
    body_optional: bool = False
    media_types: tuple[str, ...] = (bodies.JSON,)
    query: type[Query] | None = None
    #: path parameter -> all that it may be, where that is known
    path_values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: names in app/api/headers.py
    headers: tuple[str, ...] = ()
    #: response header -> meaning
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    #: how the answer looks
    example: Any = None
    answer_media_type: str = bodies.JSON
    #: whether it counts against the caller's quota: what asks no server need not
    limited: bool = True
