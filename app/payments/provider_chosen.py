"""Which provider has this installation chosen? The one that PAIDONCE_PROVIDER names, with its webhooks."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from paidonce.app.errors import ConfigurationError
from paidonce.app.payments import provider_webhook
from paidonce.app.payments.provider import Provider
from paidonce.app.payments.provider_http import HttpProvider
from paidonce.app.payments.provider_webhook import Read
from paidonce.app.settings import Settings
from paidonce.app.webhooks import signing


class Verify(Protocol):
    """Checks a webhook's signature."""

    def __call__(self, settings: Settings, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
        """Return the webhook's id; raises WebhookSignatureError, BadRequestError, ConfigurationError."""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """How the provider's webhooks are read."""

    #: headers of the signature, in lower case, of which there must not be two
    headers: tuple[str, ...]
    verify: Verify
    #: what a verified body says of a charge or refund; None: it is about something else
    read: Read


def open_provider(settings: Settings) -> AbstractAsyncContextManager[Provider]:
    """Return the provider, to be opened for one process.

    Raises:
        ConfigurationError: what it needs is not installed or not set; says what to do.
    """
    if settings.provider == "stripe":
        _check_stripe()
        from paidonce.app.payments.stripe_provider import StripeProvider  # noqa: PLC0415  it is an extra

        return StripeProvider(settings)
    return HttpProvider(settings)


def webhooks(settings: Settings) -> Webhooks:
    """Return how the provider's webhooks are read; raises as `open_provider` does."""
    if settings.provider == "stripe":
        _check_stripe()
        from paidonce.app.payments import stripe_webhook  # noqa: PLC0415  it is an extra

        return Webhooks(stripe_webhook.HEADERS, stripe_webhook.verify, stripe_webhook.read)
    return Webhooks(provider_webhook.HEADERS, _verify, provider_webhook.contracts)


def _verify(settings: Settings, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    return signing.verify(settings.provider_secret.get_secret_value(), headers, body, now=now)


def _check_stripe() -> None:
    try:
        import stripe  # noqa: F401, PLC0415  it is an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "PAIDONCE_PROVIDER=stripe needs a library that is not installed: pip install 'paidonce[stripe]'"
        ) from error
