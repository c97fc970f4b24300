"""How does a Kafka client find the brokers, and each know the other? Both libraries' arguments, made only here."""

import ssl
from typing import Any

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings


def addresses(settings: Settings) -> list[str]:
    """Return the addresses to begin with."""
    return settings.kafka.split(",")


def of_kafka_python(settings: Settings) -> dict[str, Any]:
    """Return what each client of kafka-python is given; raises as `context` does."""
    given: dict[str, Any] = {
        "bootstrap_servers": addresses(settings),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_has_tls:
        given["ssl_context"] = context(settings)
    if settings.kafka_has_user:
        given |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return given


def of_librdkafka(settings: Settings) -> dict[str, Any]:
    """Return the same for each client of librdkafka, which would read wrong files only later; raises as `context`."""
    given: dict[str, Any] = {
        "bootstrap.servers": settings.kafka,
        "security.protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_has_tls:
        context(settings)
        given |= {
            name: str(file)
            for name, file in {
                # Where this machine's authorities are, the library knows of its maker's machine only.
                "ssl.ca.location": settings.kafka_ca or ssl.get_default_verify_paths().cafile,
                "ssl.certificate.location": settings.kafka_certificate,
                "ssl.key.location": settings.kafka_key,
            }.items()
            if file
        }
    if settings.kafka_has_user:
        given |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_user,
            "sasl.password": settings.kafka_password.get_secret_value(),
        }
    return given


def context(settings: Settings) -> ssl.SSLContext:
    """Return what a connection to a broker is encrypted with; certificate and host name are always verified.

    Raises:
        ConfigurationError: a file is missing, closed to us, or not what it should be; names its setting.
    """
    with_file = "PAIDONCE_KAFKA_CA"
    try:
        made = ssl.create_default_context(cafile=settings.kafka_ca)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.kafka_certificate is not None:
            with_file = "PAIDONCE_KAFKA_CERTIFICATE or PAIDONCE_KAFKA_KEY"
            # Without a pass phrase: the library would else ask for one at the terminal, and wait there.
            made.load_cert_chain(settings.kafka_certificate, settings.kafka_key, password="")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{with_file} names a file that cannot be used ({error}): give it PEM") from error
    return made
