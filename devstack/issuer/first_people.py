"""Who may log in from the start? One person a tenant, and an operator; what they are called is known to all."""

from paidonce.devstack.issuer.clients import OPERATIONS


def first_person(tenant: str) -> tuple[str, str]:
    """Return name and password of a tenant's development person: they follow from its name, and protect nothing."""
    return f"ann@{tenant}.example", f"{tenant}-development-password"


def operator() -> tuple[str, str]:
    """Return name and password of the development operator: they protect nothing either."""
    return f"olga@{OPERATIONS}.example", "operator-development-password"
