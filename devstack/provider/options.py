"""What can be asked of the simulator when it starts? Arguments, or the environment as PAIDONCE_SIMULATOR_…."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from paidonce.app.settings import settings
from paidonce.app.webhooks import signing


def _secret_of_the_product() -> SecretStr:
    """One secret for both sides: whoever starts the two sets it once."""
    ours = settings()
    return ours.stripe_webhook_secret if ours.provider == "stripe" else ours.provider_secret


def _dialect_of_the_product() -> Literal["contract", "stripe"]:
    return settings().provider


class Options(BaseSettings):
    """Everything that can be set; the defaults are a quick and honest provider."""

    model_config = SettingsConfigDict(
        env_prefix="PAIDONCE_SIMULATOR_", cli_kebab_case=True, cli_implicit_flags=True, frozen=True, extra="ignore"
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8082, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    journal: Path = Field(Path("provider.sqlite"), description="SQLite file of everything asked, answered and charged.")
    webhook_url: str = Field("", description="Where webhooks go; empty sends none.")
    secret: SecretStr = Field(
        default_factory=_secret_of_the_product,
        description="Signs webhooks, `whsec_…`; by default the product's. Better not as an argument.",
    )

    # --- how quick, and how reliable
    seed: int = Field(0, description="Decides the dice: the same seed, reference and attempt fall the same way.")
    delay_s: float = Field(0.0, ge=0, description="Seconds before each effect, on average (0 to twice as much).")
    error_rate: float = Field(0.0, ge=0, le=1, description="Share of POSTs that fail as pm_flaky does.")
    throttle_rate: float = Field(0.0, ge=0, le=1, description="Share of POSTs answered 429, without an effect.")
    retry_after_s: int = Field(1, ge=0, description="Seconds in the Retry-After of a 429.")
    slow_s: float = Field(0.5, ge=0, description="Seconds that pm_slow takes: below the client's time limit.")
    timeout_s: float = Field(15.0, ge=0, description="Seconds of pm_timeout and pm_late: above that limit.")

    # --- dialects
    dialect: Literal["contract", "stripe"] = Field(
        default_factory=_dialect_of_the_product,
        description="Speaks the contract, or as Stripe does; by default what PAIDONCE_PROVIDER says.",
    )
    honours_keys: bool = Field(True, description="Whether a repeated Idempotency-Key gets the first result.")
    key_retention_s: float = Field(86_400.0, ge=0, description="Seconds that a key is remembered.")
    lookup_lag_s: float = Field(0.0, ge=0, description="Seconds until a look-up shows a new object.")
    webhook_copies: int = Field(1, ge=1, description="Times that each webhook is delivered, under one webhook-id.")
    webhook_delay_s: float = Field(0.0, ge=0, description="Each webhook waits a random time up to this: reordered.")

    @field_validator("secret")
    @classmethod
    def _is_a_secret(cls, secret: SecretStr) -> SecretStr:
        if secret.get_secret_value():
            signing.check_secret(secret.get_secret_value())
        return secret

    @property
    def sends_webhooks(self) -> bool:
        """Tell whether there is an address and a secret."""
        return bool(self.webhook_url and self.secret.get_secret_value())
