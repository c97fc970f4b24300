"""What can go wrong with the embedded stack? The message says what was waited for or tried, and what to do."""

from paidonce.app.errors import PaidonceError


class StackError(PaidonceError):
    """The embedded stack cannot run."""


class JarsUnobtainableError(StackError):
    """What comes by Maven coordinates (Apache Kafka, Debezium Server, Keycloak) could not be fetched."""


class PackagesUnobtainableError(StackError):
    """What comes from Debian's packages (NGINX, PgBouncer, …), a wheel (Envoy) or Go (kustomize) is not to be had."""


class TooLateError(StackError):
    """What was waited for did not come in time."""
