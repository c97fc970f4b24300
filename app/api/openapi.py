"""How does the API describe itself? The OpenAPI document, from the same declarations that run it.

FastAPI writes the document; what its decorators cannot say of bodies that we parse ourselves is
added here: parameters, bodies, headers, and every error with its code.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from paidonce.app.api import problems
from paidonce.app.api.headers import RETRY_AFTER, parameter
from paidonce.app.api.links import LINKS
from paidonce.app.api.operation import Operation
from paidonce.app.api.schemas import Query
from paidonce.app.auth import policy
from paidonce.app.errors import (
    InsufficientScopeError,
    InvalidTokenError,
    IssuerUnavailableError,
    KeySetUnavailableError,
    MissingTokenError,
    NotFoundError,
    Problem,
    RateLimitedError,
    RateLimitUnavailableError,
    UnavailableError,
    UnprocessableError,
)

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457. `type` and `code` are stable; `detail` is for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer, or `?name` of a query parameter."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def described(operation: Operation) -> dict[str, Any]:
    """Return the arguments of FastAPI's route that describe `operation`."""
    public = policy.is_public(operation.method, operation.path)
    extra: dict[str, Any] = {"parameters": list(_parameters(operation))}
    if not public:
        extra["security"] = [{"bearer": []}]
    if operation.body is not None:
        schema, _ = _body_schema(operation.body)
        content = {"schema": schema, "example": operation.body_example}
        extra["requestBody"] = {
            "required": not operation.body_optional,
            "content": dict.fromkeys(operation.media_types, content),
        }
    scopes = policy.RULES[operation.method, operation.path].scopes if not public else frozenset()
    needs = f"\n\nNeeds the scope `{' '.join(sorted(scopes))}`." if scopes else ""
    return {
        "status_code": next(iter(operation.answers)),
        "responses": _answers(operation) | _problems(operation, public=public, scoped=bool(scopes)),
        "response_model": None,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": (operation.handler.__doc__ or "") + needs,
        "operation_id": f"{operation.tag.replace('-', '_')}_{operation.handler.__name__.rstrip('_')}",
        "openapi_extra": extra,
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        _give_examples(app, document)
        app.openapi_schema = document
    return app.openapi_schema


def _give_examples(app: FastAPI, document: dict[str, Any]) -> None:
    """Put the examples in last: FastAPI leaves out every member that is null. And what the bodies refer to."""
    for route in app.routes:
        operation: Operation | None = getattr(route, "operation", None)
        if operation is None:
            continue
        if operation.body is not None:
            document["components"]["schemas"] |= _body_schema(operation.body)[1]
        shown = document["paths"][operation.path][operation.method.lower()]
        for media_type in operation.media_types if operation.body is not None else ():
            shown["requestBody"]["content"][media_type]["example"] = operation.body_example
        for status, model in operation.answers.items():
            if model is not None:
                shown["responses"][str(status)]["content"][operation.answer_media_type]["example"] = operation.example


def _body_schema(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of a body, and by name those that it refers to."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return schema, schema.pop("$defs", {})


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": _path_schema(part[1:-1], operation)}
        for part in operation.path.split("/")
        if part.startswith("{")
    ]
    return [*found, *map(parameter, operation.headers), *_query_parameters(operation.query)]


def _path_schema(name: str, operation: Operation) -> dict[str, Any]:
    if name in operation.path_values:
        return {"type": "string", "enum": list(operation.path_values[name])}
    if name in ("customer_id", "cart_id"):
        return {"type": "string", "pattern": "^[A-Za-z0-9._~:@-]{1,128}$"}
    return {"type": "string", "format": "uuid"} if name.endswith("_id") else {"type": "string"}


def _query_parameters(query: type[Query] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    members = query.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _not_null(schema)}
        for name, schema in members.items()
    ]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out null, which no query can say: such a parameter is left out."""
    found = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return found[0] if len(found) == 1 else schema


def _answers(operation: Operation) -> dict[int | str, dict[str, Any]]:
    headers = {
        name: {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in operation.answer_headers.items()
    }
    found: dict[int | str, dict[str, Any]] = {}
    for status, model in operation.answers.items():
        answer: dict[str, Any] = {"description": _DESCRIPTIONS[status], "headers": headers}
        if model is not None:
            answer["model"] = model
            answer["links"] = LINKS.get(model, {})
        elif status == 200:
            answer["content"] = {operation.answer_media_type: {"schema": {}}}
        found[status] = answer
    return found


_DESCRIPTIONS = {
    200: "As it is now.",
    201: "Created.",
    204: "Done; there is nothing to show.",
    304: "What you have is current.",
}


def _problems(operation: Operation, *, public: bool, scoped: bool) -> dict[int | str, dict[str, Any]]:
    every: list[type[Problem]] = [*operation.problems, Problem]
    every.append(problems.InvalidParameterError)
    if not public:
        every += [
            MissingTokenError,
            InvalidTokenError,
            KeySetUnavailableError,
            IssuerUnavailableError,
            UnavailableError,
        ]
        every += [InsufficientScopeError] if scoped else []
        every += [RateLimitedError, RateLimitUnavailableError] if operation.limited else []
    if operation.body is not None:
        every += [problems.MalformedJsonError, problems.PayloadTooLargeError, problems.UnsupportedMediaTypeError]
        every += [problems.RequestTimeoutError, UnprocessableError]
    if operation.headers and any(name.startswith("If-") for name in operation.headers):
        every.append(problems.InvalidHeaderError)
    if "{" in operation.path and NotFoundError not in every and operation.method != "DELETE":
        every.append(NotFoundError)
    return _by_status(every)


def _by_status(every: Sequence[type[Problem]]) -> dict[int | str, dict[str, Any]]:
    examples: dict[int, dict[str, Any]] = defaultdict(dict)
    later = {problem.status for problem in every if problem.retry_after is not None or problem is RateLimitedError}
    for problem in every:
        shown = {
            "type": problems.TYPE_BASE + problem.code,
            "title": (problem.__doc__ or "").strip().splitlines()[0],
            "status": problem.status,
            "detail": (problem.__doc__ or "").strip().splitlines()[0],
            "code": problem.code,
        }
        examples[problem.status][problem.code] = {"value": shown}
    return {
        status: {
            "description": "One of: " + ", ".join(f"`{code}`" for code in sorted(codes)) + ".",
            "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM, "examples": codes}},
            "headers": {"Retry-After": RETRY_AFTER} if status in later else {},
        }
        for status, codes in sorted(examples.items())
    }
