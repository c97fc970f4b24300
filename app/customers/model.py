"""What is a customer? Pure: no table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDraft:
    """What a merchant says of a customer; validated. Personal data: never logged, never in an event."""

    name: str
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One customer of a tenant."""

    #: the merchant's own
    id: str
    name: str
    email: str | None
    metadata: Mapping[str, str]
    created_at: datetime
    updated_at: datetime

    def is_as(self, draft: CustomerDraft) -> bool:
        """Tell whether `draft` says what is known already."""
        return (self.name, self.email, self.metadata) == (draft.name, draft.email, draft.metadata)


def customer_document(customer: Customer) -> dict[str, Any]:
    """Return the customer as the API shows it."""
    return {
        "id": customer.id,
        "object": "customer",
        "name": customer.name,
        "email": customer.email,
        "metadata": dict(customer.metadata),
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
    }
