"""Who is an operator? Whoever a token of the one issuer names, with the role, of one of the tenants.

One issuer, because another may be a tenant's own: what it says is good for that tenant, and an operator sees all
(docs/decisions/0022-who-an-operator-is.md).
"""

from paidonce.app.auth.policy import OPERATOR
from paidonce.app.auth.principal import Principal
from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings


class NotAnOperatorError(Exception):
    """The token is good, and is no operator's: the message says what it lacks."""


def issuer(settings: Settings) -> TrustedIssuer:
    """Return the issuer whose word counts here.

    Raises:
        ConfigurationError: several are trusted and none is named, or another is.
    """
    trusted = {one.issuer: one for one in settings.trusted_issuers()}
    name = settings.console_issuer or (next(iter(trusted)) if len(trusted) == 1 else "")
    if name not in trusted:
        raise ConfigurationError(
            f"PAIDONCE_CONSOLE_ISSUER must name the issuer that says who an operator is, one of {', '.join(trusted)}: "
            "an operator sees every tenant, so it must not be a tenant's own"
        )
    return trusted[name]


def narrowed(settings: Settings) -> Settings:
    """Return settings that trust that issuer alone: another's token is none here. Raises ConfigurationError."""
    return settings.model_copy(update={"issuers": [issuer(settings)]})


def check(principal: Principal, settings: Settings) -> None:
    """Let an operator through, or raise NotAnOperatorError."""
    if OPERATOR not in principal.roles:
        raise NotAnOperatorError(f"your token has not the role {OPERATOR}")
    if settings.console_tenants and principal.tenant not in settings.console_tenants:
        raise NotAnOperatorError("operators are of another tenant than yours (PAIDONCE_CONSOLE_TENANTS)")
