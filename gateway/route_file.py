"""What stands in the route file? Its fields, each with what it is for; one file for every gateway.

Method, path, scopes and roles of Paidonce's own routes are not here but in `app/auth/policy.py`.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer

#: A claim that may travel on as a header: who, for whom, with which rights and how much; nothing personal.
Claim = Literal["sub", "iss", "tenant", "scope", "roles", "refund_limit"]
#: Headers that a claim must not be put into, since a service or the gateway gives them another meaning.
_TAKEN = frozenset({"authorization", "cookie", "host", "connection", "content-length", "idempotency-key", "if-match"})
_UPSTREAM = re.compile(r"https?://[^/?#@]+")

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]
#: Into a configuration they go as they are: neither blanks, quotes, semicolons nor dollar signs.
Plain = Annotated[str, StringConstraints(pattern=r"^[\w./:\[\]@+~*-]+$")]
Method = Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,16}$")]
Scope = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]+$")]
#: A template as the policy has it: `/reports/{report_id}`.
Path_ = Annotated[str, StringConstraints(pattern=r"^(/([\w.~:@-]+|\{\w+\}))+$")]


def _checked_upstream(url: str) -> str:
    if not _UPSTREAM.fullmatch(url) or urlsplit(url).port is None:
        raise ValueError(f"{url} is no http://HOST:PORT or https://HOST:PORT")
    return url


Upstream = Annotated[Plain, AfterValidator(_checked_upstream)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listening(_Part):
    """Where the gateway itself is reached."""

    listen: Plain = "127.0.0.1:8090"
    #: PEM files; without them it speaks plain HTTP, for loopback or behind what ends TLS
    tls_certificate: Plain | None = None
    tls_key: Plain | None = None
    #: address of /metrics, never one that callers reach; None: no figures
    metrics: Plain | None = None
    #: authorities that may vouch for issuers
    authorities: Plain = "/etc/ssl/certs/ca-certificates.crt"
    #: name servers for issuers' names; none are needed for addresses
    resolvers: tuple[Plain, ...] = ()
    #: addresses of what stands in front, whose X-Forwarded-For names the caller; else the connection's own counts
    trusted_proxies: tuple[Plain, ...] = ()

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self


class Cors(_Part):
    """Which pages of other origins may call (the Fetch standard, "CORS protocol")."""

    #: `https://shop.example`, compared character by character; "*" is any origin, without credentials
    origins: tuple[Plain, ...] = ()
    methods: tuple[Method, ...] = ()
    request_headers: tuple[HeaderName, ...] = ()
    exposed_headers: tuple[HeaderName, ...] = ()
    #: whether a page may use what the browser keeps for us
    credentials: bool = False
    max_age_s: int = Field(600, ge=0, le=86_400)

    @model_validator(mode="after")
    def _never_any_with_credentials(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise ValueError('origins = ["*"] with credentials lets every page act as its visitor: name the origins')
        return self


class AddressLimit(_Part):
    """Requests of one address, counted before its token is looked at."""

    requests_per_s: int = Field(ge=1)
    #: requests that may come at once
    burst: int = Field(ge=0)


class SubjectLimit(_Part):
    """Requests of one subject in a sliding window, counted after its token was verified."""

    requests: int = Field(ge=1)
    window_s: int = Field(ge=1)


class Limits(_Part):
    """How much one caller may ask; what is not named is not limited."""

    address: AddressLimit | None = None
    subject: SubjectLimit | None = None


class Route(_Part):
    """One method of one resource of a service that is not Paidonce."""

    method: Method
    path: Path_
    scopes: tuple[Scope, ...] = ()
    #: one of them, unless there are none
    roles: tuple[Scope, ...] = ()
    #: no token is asked for
    public: bool = False


class UpstreamTls(_Part):
    """How the gateway proves to a service who it is (docs/gateways.md)."""

    #: who vouches for the service's certificate, and the name in it
    authority: Plain
    name: Plain
    certificate: Plain | None = None
    key: Plain | None = None


class Service(_Part):
    """One service behind the gateway."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    #: where its paths begin; the path is passed on as it came
    prefix: Annotated[str, StringConstraints(pattern=r"^/([\w.~-]+(/[\w.~-]+)*)?$")]
    upstreams: tuple[Upstream, ...] = Field(min_length=1)
    upstream_tls: UpstreamTls | None = None
    #: "paidonce": method, path, scopes and roles are the API's own policy
    policy: Literal["paidonce"] | None = None
    routes: tuple[Route, ...] = ()
    #: names of trusted issuers; by default all
    issuers: tuple[str, ...] | None = None
    #: a token must name one of them; by default what the API's settings say, for the service "paidonce" only
    audiences: tuple[str, ...] | None = Field(None, min_length=1)
    #: whether the service gets the token itself: without it, it must trust the headers below
    pass_token: bool = True
    claim_headers: dict[HeaderName, Claim] = {}
    #: whether a POST with an Idempotency-Key that got no answer is sent again: for a service that answers a key once
    #: (docs/design.md, "Idempotent HTTP"), as Paidonce does; Envoy only, NGINX sends no POST twice
    repeat_keyed: bool = False
    #: by default the API's own (PAIDONCE_API_BODY_BYTES_MAX)
    body_bytes_max: int | None = Field(None, ge=0)
    #: seconds until a service that says nothing is given up: longer than the API's own waits
    answer_s: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.policy is None) == (not self.routes):
            raise ValueError(f'{self.name}: either policy = "paidonce" or routes')
        if self.policy is None and self.audiences is None:
            raise ValueError(f"{self.name}: audiences are missing: a token for another service would be taken")
        taken = sorted(name for name in self.claim_headers if name.lower() in _TAKEN)
        if taken:
            raise ValueError(f"{self.name}: claims cannot be put into {', '.join(taken)}")
        outside = [route.path for route in self.routes if not _is_below(route.path, self.prefix)]
        if outside:
            raise ValueError(f"{self.name}: not below {self.prefix}: {', '.join(outside)}")
        if len({urlsplit(url).scheme for url in self.upstreams}) > 1:
            raise ValueError(f"{self.name}: upstreams are all https or none")
        if (self.upstream_tls is not None) != self.upstreams[0].startswith("https:"):
            raise ValueError(f"{self.name}: upstream_tls and https upstreams belong together")
        return self


class RouteFile(_Part):
    """The whole file."""

    gateway: Listening = Listening()
    cors: Cors = Cors()
    limits: Limits = Limits()
    #: whose tokens are accepted; by default the API's own (PAIDONCE_ISSUERS). Audiences stand with the services.
    issuers: tuple[TrustedIssuer, ...] = ()
    #: by default the API's own (PAIDONCE_TOKEN_SKEW_S)
    skew_s: int | None = Field(None, ge=0)
    services: tuple[Service, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        for what in ("name", "prefix"):
            if len({getattr(service, what) for service in self.services}) < len(self.services):
                raise ValueError(f"two services with one {what}")
        return self


def _is_below(path: str, prefix: str) -> bool:
    return prefix in ("/", path) or path.startswith(prefix + "/")


def read(path: Path) -> RouteFile:
    """Return what the file says; raises ConfigurationError naming what is wrong."""
    try:
        return RouteFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigurationError(f"{path}: {'; '.join(wrong)}") from error
