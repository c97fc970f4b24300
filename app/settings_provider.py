"""What can be set about who moves the money? A part of app/settings.py; see docs/design.md, "Provider"."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings

#: An environment variable has no other way to say that there is none.
EMPTY_IS_NONE = BeforeValidator(lambda given: None if given == "" else given)


class ProviderSettings(BaseSettings):
    """The provider, whichever it is."""

    provider: Literal["contract", "stripe"] = Field(
        "contract",
        description="Who moves the money: whoever speaks the contract, as the simulator does, or Stripe (extra "
        "`stripe`; docs/providers.md).",
    )
    provider_url: str = Field("http://127.0.0.1:8082", description="The provider of the contract, or the simulator.")
    provider_secret: SecretStr = Field(
        SecretStr(""),
        description="Signs the provider's webhooks to us, `whsec_…`; without it they are refused.",
    )
    provider_honours_keys_s: int = Field(
        86_400, description="Seconds that the provider keeps idempotency keys; 0: it ignores them."
    )
    provider_key_margin_s: int = Field(
        3_600, description="Seconds before that end at which we no longer send under a key again."
    )
    provider_settles_within_s: Annotated[int | None, EMPTY_IS_NONE] = Field(
        60,
        description="Seconds after which a request is in the provider's look-up if ever; empty: it does not say. "
        "Stripe states none: with it there is none unless this is set.",
    )
    stripe_key: SecretStr = Field(
        SecretStr(""), description="Stripe's secret key, or better a restricted one (`rk_…`): PaymentIntents, refunds."
    )
    stripe_webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signs Stripe's webhooks to us, `whsec_…`; without it they are refused."
    )
    stripe_url: str = Field("https://api.stripe.com", description="Stripe's API, or what stands in for it in tests.")
