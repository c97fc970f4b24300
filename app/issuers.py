"""Whose tokens are accepted, and on what terms?"""

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class OpaqueTokens(BaseModel):
    """How an issuer is asked about tokens that say nothing by themselves (RFC 7662)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: as whom we ask
    client_id: str = Field(min_length=1)
    client_secret: SecretStr
    #: its introspection endpoint; None: where its OpenID discovery says
    url: str | None = None
    #: what its tokens begin with, so that no issuer gets to see another's
    prefix: str = ""


class TrustedIssuer(BaseModel):
    """Whose tokens are accepted, and for whom they must be (docs/design.md, "Who may call")."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: the `iss` of its tokens, compared character by character
    issuer: str = Field(min_length=1)
    #: where its key set is; None: where its OpenID discovery says
    jwks_url: str | None = None
    #: a token must name one of them
    audiences: tuple[str, ...] = Field(("paidonce",), min_length=1)
    #: the tenants that it may speak for; None: whichever its tokens name
    tenants: frozenset[str] | None = None
    #: where its tokens name tenant and roles; dots lead into objects
    tenant_claim: str = "tenant"
    roles_claim: str = "roles"
    #: and how many minor units the refunds of one payment may add up to; without it the setting's
    refund_limit_claim: str = "refund_limit"
    #: None: it is never asked about a token, only its keys are
    opaque: OpaqueTokens | None = None
