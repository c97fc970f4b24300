"""How does a request come to its handler? The one way there, so that no route can forget a check.

Token first, then the caller's quota, then the right to do this, then the query; the handler reads
the body. HEAD goes to GET, OPTIONS and unknown methods are answered here, for every route alike.
"""

from collections.abc import Sequence
from urllib.parse import unquote_plus

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from paidonce.app.api.openapi import described
from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.problems import InvalidParameterError, MemberError, MethodNotAllowedError
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Query, parameter_error
from paidonce.app.api.services import Services
from paidonce.app.auth import policy
from paidonce.app.auth.principal import Principal
from paidonce.app.auth.vouched import PROOF
from paidonce.app.errors import NotFoundError


class Endpoint(APIRoute):
    """The route of one operation. FastAPI describes it; what runs is `answer`, without its dependency solver."""

    def __init__(self, operation: Operation, allow: str) -> None:
        super().__init__(operation.path, operation.handler, methods=[operation.method], **described(operation))
        self.operation = operation
        #: the methods of every operation at this path
        self.allow = allow
        self.app = self.answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the whole path, and HEAD where GET is."""
        if scope["path"].endswith("\n") and not self.path.endswith("}"):
            return Match.NONE, {}  # a pattern's `$` also matches before a last newline
        match, child_scope = super().matches(scope)
        if match is Match.PARTIAL and scope["method"] == "HEAD" and self.operation.method == "GET":
            return Match.FULL, child_scope
        return match, child_scope

    async def handle(self, scope: Scope, receive: Receive, emit: Send) -> None:
        """Answer whatever method came to this path."""
        method = scope["method"]
        if method == self.operation.method or (method == "HEAD" and self.operation.method == "GET"):
            await self.answer(scope, receive, emit)
            return
        call = self._call(scope, receive)
        if method == "OPTIONS":
            await self._authorize(call, "OPTIONS")
            await Reply(204, headers={"Allow": self.allow})(scope, receive, emit)
            return
        if not policy.is_public(self.operation.method, self.path):
            call.principal = await self._verify(call)
        raise MethodNotAllowedError(self.allow)

    async def answer(self, scope: Scope, receive: Receive, emit: Send) -> None:
        """Check, call the handler, send what it answers."""
        call = self._call(scope, receive)
        await self._authorize(call, self.operation.method)
        call.query = parse_query(self.operation.query, scope["query_string"])
        reply = await self.operation.handler(call)
        await reply(scope, receive, emit)

    def _call(self, scope: Scope, receive: Receive) -> Call:
        call = Call(scope, receive)
        call.operation = self.operation
        call.services = scope["state"]["services"]
        call.trace = scope["paidonce.trace"]
        call.trace.route = self.path
        return call

    async def _authorize(self, call: Call, method: str) -> None:
        if not policy.is_public(method, self.path):
            call.principal = await self._verify(call)
            policy.authorize(call.principal, method, self.path)

    async def _verify(self, call: Call) -> Principal:
        services: Services = call.services
        principal = await _caller(services, call.scope)
        call.trace.tenant = principal.tenant
        if self.operation.limited:
            quota = await services.rate_limit.spend(principal)
            call.trace.quota = quota.headers
            if quota.problem is not None:
                raise quota.problem
        return principal


async def _caller(services: Services, scope: Scope) -> Principal:
    if services.vouched is not None:
        return services.vouched.principal(scope["headers"], proven=scope.get(PROOF, False))
    return await services.verifier.verify([value for name, value in scope["headers"] if name == b"authorization"])


def mount(app: FastAPI, operations: Sequence[Operation]) -> None:
    """Give every operation its route; those of one path know of each other."""
    methods: dict[str, list[str]] = {}
    for operation in operations:
        also = ["HEAD"] if operation.method == "GET" else []
        methods.setdefault(operation.path, ["OPTIONS"]).extend([operation.method, *also])
    for operation in operations:
        app.router.routes.append(Endpoint(operation, ", ".join(sorted(methods[operation.path]))))


def parse_query(model: type[Query] | None, raw: bytes) -> Query | None:
    """Return the query as `model`.

    Raises:
        InvalidParameterError: a parameter is unknown, repeated, not percent-encoded UTF-8, or has a wrong value.
    """
    if not raw:
        return None if model is None else model()
    values: dict[str, str] = {}
    for pair in raw.split(b"&"):
        name, _, value = pair.partition(b"=")
        text = _decoded(name)
        if text in values or text not in (model.model_fields if model else ()):
            wrong = "is repeated" if text in values else "is no parameter of this operation"
            raise InvalidParameterError([MemberError(pointer=f"?{text[:64]}", detail=wrong)])
        values[text] = _decoded(value)
    assert model is not None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise parameter_error(error) from error


def _decoded(part: bytes) -> str:
    try:
        return unquote_plus(part.decode("ascii"), errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidParameterError([MemberError(pointer="?", detail="is not percent-encoded UTF-8")]) from error


async def not_found(_scope: Scope, _receive: Receive, _emit: Send) -> None:
    """Answer a path that has no route."""
    raise NotFoundError
