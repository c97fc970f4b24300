"""What does the development issuer answer? A token's whole life, its key set, and where to find each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from paidonce.app.auth.policy import SCOPES
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import CommitUnknownError
from paidonce.devstack.issuer.authorize_endpoint import authorize
from paidonce.devstack.issuer.clients import LOOPBACK_ORIGIN, origin_of
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.form import GrantError
from paidonce.devstack.issuer.grant import KINDS
from paidonce.devstack.issuer.key_file import JWKS_AGE_S
from paidonce.devstack.issuer.login_page import NOTICE
from paidonce.devstack.issuer.logins import Logins
from paidonce.devstack.issuer.revocation import introspect, revoke
from paidonce.devstack.issuer.service import Service, refusal, service_of
from paidonce.devstack.issuer.signing import SigningKeys
from paidonce.devstack.issuer.token_endpoint import token

_log = structlog.get_logger(__name__)


def create(
    keys: SigningKeys,
    iss: str,
    *,
    database: Database | None = None,
    logins: Logins | None = None,
    redirect_uris: frozenset[str] = frozenset(),
    clock: Clock | None = None,
) -> Starlette:
    """Return the issuer named `iss`, which signs with `keys`; without a `database` nobody can log in."""
    database, logins = database or Database(None), logins or Logins()
    service = Service(iss, keys, database, logins, redirect_uris, clock or SystemClock())
    application = Starlette(
        routes=[
            Route("/authorize", authorize, methods=["GET", "POST"]),
            Route("/token", token, methods=["POST"]),
            Route("/revoke", revoke, methods=["POST"]),
            Route("/introspect", introspect, methods=["POST"]),
            Route("/.well-known/jwks.json", _jwks),
            Route("/.well-known/openid-configuration", _discovery),
            Route("/.well-known/oauth-authorization-server", _discovery),
            Route("/", _notice),
            Route("/healthz", _notice),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=[origin_of(uri) for uri in service.redirect_uris],
                allow_origin_regex=LOOPBACK_ORIGIN.pattern,
                allow_methods=["POST"],
                allow_credentials=True,
            )
        ],
        exception_handlers={
            GrantError: _refused,
            SQLAlchemyError: _unavailable,
            CommitUnknownError: _unavailable,
        },
        lifespan=_lifespan,
    )
    application.state.service = service
    return application


@asynccontextmanager
async def _lifespan(application: Starlette) -> AsyncIterator[None]:
    yield
    await application.state.service.database.close()


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GrantError)
    return refusal(error)


async def _unavailable(_request: Request, error: Exception) -> Response:
    _log.warning("database unavailable", cause=type(error).__name__)
    return refusal(GrantError("temporarily_unavailable", "the issuer's database does not answer", status=503))


async def _jwks(request: Request) -> Response:
    keys = [key.public() for key in service_of(request).keys.published()]
    return JSONResponse({"keys": keys}, headers={"Cache-Control": f"public, max-age={JWKS_AGE_S}"})


async def _discovery(request: Request) -> Response:
    iss = service_of(request).iss
    confidential = ["client_secret_basic", "client_secret_post"]
    return JSONResponse(
        {
            "issuer": iss,
            "authorization_endpoint": f"{iss}/authorize",
            "token_endpoint": f"{iss}/token",
            "revocation_endpoint": f"{iss}/revoke",
            "introspection_endpoint": f"{iss}/introspect",
            "jwks_uri": f"{iss}/.well-known/jwks.json",
            "grant_types_supported": list(KINDS),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "token_endpoint_auth_methods_supported": [*confidential, "none"],
            "revocation_endpoint_auth_methods_supported": [*confidential, "none"],
            "introspection_endpoint_auth_methods_supported": confidential,
            "scopes_supported": sorted(SCOPES),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "service_documentation": NOTICE,
        }
    )


async def _notice(request: Request) -> Response:
    discovery = f"{service_of(request).iss}/.well-known/openid-configuration"
    return JSONResponse({"notice": NOTICE, "discovery": discovery})
