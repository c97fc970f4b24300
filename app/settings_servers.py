"""What can be set about the servers that we use? A part of app/settings.py; see docs/operations.md."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

#: Schemes of a URL of Valkey by which TLS is spoken.
VALKEY_TLS = frozenset({"rediss", "valkeys"})


class ServersSettings(BaseSettings):
    """Where PostgreSQL, Kafka and Valkey are."""

    dsn: SecretStr = Field(
        SecretStr("postgresql://paidonce@127.0.0.1:5432/paidonce"),
        description="PostgreSQL as a URL; several hosts and target_session_attrs=read-write for a failover pair.",
    )
    dsn_direct: SecretStr | None = Field(
        None,
        description="PostgreSQL itself, where PAIDONCE_DSN leads to a pooler in transaction mode (docs/pooler.md); "
        "without it PAIDONCE_DSN does.",
    )
    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port separated by commas.")
    valkey: str = Field("redis://127.0.0.1:6379/0", description="Valkey, as a redis:// URL; rediss:// is TLS.")
    valkey_ca: Path | None = Field(
        None, description="PEM file of who signed Valkey's certificate; by default whoever this machine trusts."
    )
    valkey_call_s: float = Field(
        0.25, gt=0, description="Seconds that one call to Valkey may take: a request waits no longer for it."
    )
    stack: Literal["embedded", "containers"] = Field(
        "embedded", description="Where `paidonce up` and the tests take servers from that no setting names."
    )

    @field_validator("dsn", "dsn_direct")
    @classmethod
    def _is_a_url(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is not None and not dsn.get_secret_value().startswith("postgresql://"):
            raise ValueError("is no URL postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return dsn

    @model_validator(mode="after")
    def _valkey_is_verified(self) -> Self:
        url = urlsplit(self.valkey)
        if self.valkey_ca and url.scheme not in VALKEY_TLS:
            raise ValueError("PAIDONCE_VALKEY_CA is of no use with this PAIDONCE_VALKEY: make it rediss://")
        if "ssl_" in url.query:
            raise ValueError("PAIDONCE_VALKEY has ssl_… in it: set PAIDONCE_VALKEY_CA; the rest is always verified")
        return self

    @property
    def pooled(self) -> bool:
        """Whether PAIDONCE_DSN leads to a pooler in transaction mode."""
        return self.dsn_direct is not None
