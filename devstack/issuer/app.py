"""What does the development issuer answer? Tokens, its key set, and where to find both."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from paidonce.app.auth.policy import SCOPES
from paidonce.app.clock import SystemClock
from paidonce.devstack.issuer import grant
from paidonce.devstack.issuer.signing import SigningKey

#: Bytes of a token request.
BODY_BYTES_MAX = 16_384
#: Whoever looks at it must see what it is.
NOTICE = "Paidonce's development issuer: its clients' secrets are public. Never let it vouch for anyone real."
_FORM = "application/x-www-form-urlencoded"
#: RFC 6749, section 5.1: a token is for the one who asked.
_UNCACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def create(key: SigningKey, iss: str) -> Starlette:
    """Return the issuer named `iss`, which signs with `key`."""
    clock = SystemClock()

    async def token(request: Request) -> Response:
        try:
            asked = grant.read(request.headers.get("authorization"), await _form(request))
        except grant.GrantError as error:
            return _refusal(error)
        signed = key.sign(grant.claims(asked, iss, clock.now()))
        return JSONResponse(
            {
                "access_token": signed,
                "token_type": "Bearer",
                "expires_in": asked.ttl_s,
                "scope": " ".join(asked.scopes),
            },
            headers=_UNCACHED,
        )

    async def jwks(_request: Request) -> Response:
        return JSONResponse({"keys": [key.public()]}, headers={"Cache-Control": "public, max-age=300"})

    async def discovery(_request: Request) -> Response:
        return JSONResponse(_discovery(iss))

    async def notice(_request: Request) -> Response:
        return JSONResponse({"notice": NOTICE, "discovery": f"{iss}/.well-known/openid-configuration"})

    return Starlette(
        routes=[
            Route("/token", token, methods=["POST"]),
            Route("/.well-known/jwks.json", jwks),
            Route("/.well-known/openid-configuration", discovery),
            Route("/", notice),
            Route("/healthz", notice),
        ]
    )


async def _form(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise grant.GrantError("invalid_request", f"the body is not {_FORM}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise grant.GrantError("invalid_request", "the body is too long", status=413)
    return body


def _refusal(error: grant.GrantError) -> Response:
    headers = _UNCACHED | ({"WWW-Authenticate": 'Basic realm="paidonce development"'} if error.status == 401 else {})
    return JSONResponse({"error": error.code, "error_description": str(error)}, error.status, headers)


def _discovery(iss: str) -> dict[str, object]:
    return {
        "issuer": iss,
        "token_endpoint": f"{iss}/token",
        "jwks_uri": f"{iss}/.well-known/jwks.json",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": sorted(SCOPES),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "service_documentation": NOTICE,
    }
