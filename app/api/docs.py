"""Where is the API described? /openapi.json, and a page that reads it. Nothing is loaded from elsewhere.

The page's assets are Swagger UI's, from the package fastapi-offline.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from paidonce.app.api.conditions import etag_of, matches_weakly
from paidonce.app.api.openapi import describe
from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.reply import JSON, Reply
from paidonce.app.documents import as_json
from paidonce.app.errors import NotFoundError

#: Swagger UI styles elements itself and draws with data URIs; no script but the two below runs.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><title>Paidonce API</title>
<link rel="icon" href="/docs/favicon.png"><link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script>
</html>
"""
_START = b'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}


async def openapi(call: Call) -> Reply:
    """Return the OpenAPI document of this API."""
    return _cached(call, as_json(describe(call.app)), JSON)


async def page(_call: Call) -> Reply:
    """Return a page that shows the OpenAPI document."""
    return Reply(200, _PAGE, {"Content-Security-Policy": CSP}, media_type="text/html; charset=utf-8")


async def asset(call: Call) -> Reply:
    """Return a part of that page."""
    name = call.path_params["asset"]
    if name == "start.js":
        return _cached(call, _START, "text/javascript; charset=utf-8")
    if name not in _MEDIA_TYPES:
        raise NotFoundError
    return _cached(call, _read(name), _MEDIA_TYPES[name])


def _read(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()


def _cached(call: Call, body: bytes, media_type: str) -> Reply:
    etag = etag_of(body)
    if matches_weakly(call.tags("If-None-Match"), etag):
        return Reply(304, headers={"ETag": etag})
    return Reply(200, body, {"ETag": etag}, media_type=media_type)


def _operation(path: str, handler: Callable[[Call], Awaitable[Reply]], summary: str, media_type: str) -> Operation:
    headers: tuple[str, ...] = () if handler is page else ("If-None-Match",)
    answers: dict[int, Any] = {200: None} if handler is page else {200: None, 304: None}
    return Operation(
        method="GET",
        path=path,
        handler=handler,
        tag="docs",
        summary=summary,
        path_values={"asset": ("start.js", *_MEDIA_TYPES)} if handler is asset else {},
        headers=headers,
        answers=answers,
        answer_media_type=media_type,
    )


OPERATIONS = (
    _operation("/openapi.json", openapi, "This document", JSON),
    _operation("/docs", page, "This document as a page", "text/html"),
    _operation("/docs/{asset}", asset, "A part of that page", "*/*"),
)
