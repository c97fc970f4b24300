"""What can be set for the development issuer: environment variables with the prefix PAIDONCE_ISSUER."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

#: Seconds that a token lives, by default and at most: a lost one is of no use the next hour.
TTL_S = 600
TTL_MAX_S = 3_600


class IssuerSettings(BaseSettings):
    """The issuer's address and where it keeps its key."""

    model_config = SettingsConfigDict(env_prefix="PAIDONCE_ISSUER_", frozen=True, extra="ignore", populate_by_name=True)

    folder: Path = Field(description="Folder of the signing key; made when it is missing, mode 0700.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM), to serve https; else plain http.")
    tls_key: Path | None = Field(None, description="The certificate's private key (PEM).")
    port: int = Field(8081, ge=1, le=65535, description="Port to listen on.")
    url: str = Field(
        "",
        validation_alias=AliasChoices("PAIDONCE_ISSUER", "url"),
        description="The `iss` of its tokens, as the API has it in PAIDONCE_ISSUER; by default http://HOST:PORT.",
    )

    @property
    def iss(self) -> str:
        """The issuer's name, which is its address."""
        return self.url or f"http://{self.host}:{self.port}"
