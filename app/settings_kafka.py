"""What can be set about the way to Kafka? A part of app/settings.py; see docs/operations.md, "Encrypted"."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings


class KafkaSettings(BaseSettings):
    """Who the brokers are, and who we are to them."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = Field(
        "PLAINTEXT",
        description="As the brokers' listener has it: SSL is TLS, SASL_SSL is TLS with a user and a password.",
    )
    kafka_ca: Path | None = Field(
        None, description="PEM file of who signed the brokers' certificates; by default whoever this machine trusts."
    )
    kafka_certificate: Path | None = Field(
        None, description="PEM file of our certificate for Kafka, where the brokers want one."
    )
    kafka_key: Path | None = Field(None, description="PEM file of its key, without a pass phrase.")
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="How the password is shown to the brokers; PLAIN only inside TLS."
    )
    kafka_user: str = Field("", description="Our user at the brokers, with SASL.")
    kafka_password: SecretStr = Field(SecretStr(""), description="Its password.")

    @property
    def kafka_has_tls(self) -> bool:
        """Whether connections to Kafka are encrypted."""
        return self.kafka_security_protocol in {"SSL", "SASL_SSL"}

    @property
    def kafka_has_user(self) -> bool:
        """Whether the brokers are shown a user and a password."""
        return self.kafka_security_protocol.startswith("SASL")

    @model_validator(mode="after")
    def _is_used_as_it_is_meant(self) -> Self:
        protocol = f"PAIDONCE_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol}"
        if (self.kafka_certificate is None) != (self.kafka_key is None):
            raise ValueError("PAIDONCE_KAFKA_CERTIFICATE and PAIDONCE_KAFKA_KEY belong together")
        # What is set and not used would be a connection in the clear that its owner takes for a safe one.
        if not self.kafka_has_tls and (self.kafka_ca or self.kafka_certificate):
            raise ValueError(f"PAIDONCE_KAFKA_CA and _CERTIFICATE are of no use with {protocol}: set SSL or SASL_SSL")
        named = (bool(self.kafka_user), bool(self.kafka_password.get_secret_value()))
        if self.kafka_has_user and not all(named):
            raise ValueError(f"{protocol} needs PAIDONCE_KAFKA_USER and PAIDONCE_KAFKA_PASSWORD")
        if not self.kafka_has_user and any(named):
            raise ValueError(f"PAIDONCE_KAFKA_USER and _PASSWORD are of no use with {protocol}: set SASL_SSL")
        if self.kafka_security_protocol == "SASL_PLAINTEXT" and self.kafka_sasl_mechanism == "PLAIN":
            raise ValueError("PLAIN would send the password in the clear: set SASL_SSL, or a SCRAM mechanism")
        return self
