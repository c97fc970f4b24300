"""What can be set for the development issuer: environment variables with the prefix PAIDONCE_ISSUER."""

import os
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

#: Seconds that a token lives, by default and at most: a lost one is of no use the next hour.
TTL_S = 600
TTL_MAX_S = 3_600


class IssuerSettings(BaseSettings):
    """The issuer's address, where it keeps its keys, and the database of its logins."""

    model_config = SettingsConfigDict(env_prefix="PAIDONCE_ISSUER_", frozen=True, extra="ignore", populate_by_name=True)

    folder: Path = Field(description="Folder of the signing keys; made when it is missing, mode 0700.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM), to serve https; else plain http.")
    tls_key: Path | None = Field(None, description="The certificate's private key (PEM).")
    port: int = Field(8081, ge=1, le=65535, description="Port to listen on.")
    url: str = Field(
        "",
        validation_alias=AliasChoices("PAIDONCE_ISSUER", "url"),
        description="The `iss` of its tokens, as the API has it in PAIDONCE_ISSUER; by default http://HOST:PORT.",
    )
    dsn: SecretStr | None = Field(
        None,
        description="PostgreSQL of logins, refresh and opaque tokens (schema issuer_1); without it there are none.",
    )
    redirect_uris: frozenset[str] = Field(
        frozenset(), description="Where a login may lead besides http://127.0.0.1:PORT/callback, as a JSON list."
    )
    logins_per_minute: int = Field(
        5, ge=1, description="Attempts to log in, a minute, under one name; from one address four times as many."
    )

    @property
    def iss(self) -> str:
        """The issuer's name, which is its address."""
        return self.url or f"http://{self.host}:{self.port}"


def issuer_settings() -> IssuerSettings:
    """Return this process's settings; a secret may also be a file in the folder PAIDONCE_SECRETS_DIR.

    Raises:
        pydantic.ValidationError: PAIDONCE_ISSUER_FOLDER is missing, or something is wrong.
    """
    return IssuerSettings(_secrets_dir=os.environ.get("PAIDONCE_SECRETS_DIR"))
