"""Who is an operator here? Whoever a token of the one issuer names, with the role, of one of the tenants that run it.

One issuer, because another may be a tenant's own; named tenants, because at the API the same role lets a tenant's own
people see that tenant's trails, and an operator here sees all (docs/decisions/0022-who-an-operator-is.md).
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
        ConfigurationError: several are trusted and none is named, or another is; or no tenant is named.
    """
    trusted = {one.issuer: one for one in settings.trusted_issuers()}
    name = settings.console_issuer or (next(iter(trusted)) if len(trusted) == 1 else "")
    if name not in trusted:
        raise ConfigurationError(
            f"PAIDONCE_CONSOLE_ISSUER must name the issuer that says who an operator is, one of {', '.join(trusted)}: "
            "an operator sees every tenant, so it must not be a tenant's own"
        )
    if not settings.console_tenants:
        raise ConfigurationError(
            "PAIDONCE_CONSOLE_TENANTS names nobody: set it to the tenant whose people run this installation, as "
            '["operations"]; they see every tenant, so it must be no merchant'
        )
    return trusted[name]


def narrowed(settings: Settings) -> Settings:
    """Return settings that trust that issuer alone: another's token is none here. Raises ConfigurationError."""
    return settings.model_copy(update={"issuers": [issuer(settings)]})


def check(principal: Principal, settings: Settings) -> None:
    """Let an operator through, or raise NotAnOperatorError."""
    if OPERATOR not in principal.roles:
        raise NotAnOperatorError(f"your token does not have the role {OPERATOR}")
    if principal.tenant not in settings.console_tenants:
        raise NotAnOperatorError("operators of the whole are of another tenant than yours (PAIDONCE_CONSOLE_TENANTS)")
