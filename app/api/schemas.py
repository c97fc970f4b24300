"""What may a request say, and what does an answer look like? Strict: no other member, no other type.

Models check requests and describe both in the OpenAPI document; answers are made by the
documents in app/payments/model.py and are not validated again.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from paidonce.app.api.currencies import CURRENCIES, known
from paidonce.app.api.pagination import CURSOR
from paidonce.app.api.problems import InvalidBodyError, InvalidParameterError, MemberError
from paidonce.app.payments.events import EventType
from paidonce.app.payments.model import PaymentStatus, RefundStatus

#: Minor units; eleven digits are more than any provider takes, and far below 2^53 (RFC 8785).
AMOUNT_MAX = 99_999_999_999
METADATA_ENTRIES_MAX = 50

_FOUR, _TWO, _THREE = "[A-Za-z0-9+/]{4}", "[A-Za-z0-9+/]{2}==", "[A-Za-z0-9+/]{3}="
#: 24 to 64 bytes: 8 to 21 groups of three, and what is left over
_SECRET = f"^whsec_(?:(?:{_FOUR}){{8,20}}(?:{_FOUR}|{_TWO}|{_THREE})?|(?:{_FOUR}){{21}}(?:{_TWO})?)$"

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX, description="Integer minor units of the currency.")]
CurrencyCode = Annotated[
    str,
    StringConstraints(min_length=3, max_length=3),
    AfterValidator(known),
    Field(description="ISO 4217 code, three capital letters.", json_schema_extra={"enum": sorted(CURRENCIES)}),
]
Identifier = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._~:@-]{1,128}$"), Field(description="An id that you choose.")
]
MethodToken = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
MetadataName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=500)]
Metadata = Annotated[dict[MetadataName, MetadataValue], Field(max_length=METADATA_ENTRIES_MAX)]
# Blanks and controls by name: what \s is, the languages of patterns do not agree.
_IN_EMAIL = r"[^@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
Email = Annotated[str, StringConstraints(pattern=f"^{_IN_EMAIL}{{1,64}}@{_IN_EMAIL}{{1,190}}$")]


WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2_048,
        description="https, on the public internet.",
        json_schema_extra={"pattern": "^https?://[!-~]+$"},
    ),
]
WebhookSecret = Annotated[
    str,
    Field(
        max_length=128,
        description="`whsec_` and base64 of 24 to 64 bytes; never shown.",
        json_schema_extra={"pattern": _SECRET},
    ),
]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Query(BaseModel):
    """A request's query parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PaymentCreate(Body):
    """A payment to be made."""

    amount: Amount
    currency: CurrencyCode
    payment_method: MethodToken = Field(description="The provider's token of card or account.")
    customer_id: Identifier | None = Field(None, description="A customer that exists.")
    reference: Line | None = Field(None, description="Your own reference; it need not be unique.")
    description: Text | None = None
    metadata: Metadata = Field(default_factory=dict)


class PaymentPatch(Body):
    """A merge patch (RFC 7396) of what may change in a payment; null removes."""

    description: Text | None = None
    metadata: dict[MetadataName, MetadataValue | None] | None = None


class PaymentMutable(Body):
    """What of a payment a patch leads to."""

    description: Text | None = None
    metadata: Metadata = Field(default_factory=dict)


class Nothing(Body):
    """An empty object; the body may be left out."""


class RefundCreate(Body):
    """A refund; without an amount, of all that is left. The body may be left out."""

    amount: Amount | None = None
    reason: Line | None = None


class CustomerPut(Body):
    """A customer, whole."""

    name: Line
    email: Email | None = None
    metadata: Metadata = Field(default_factory=dict)


class CustomerPatch(Body):
    """A merge patch (RFC 7396) of a customer; null removes what a customer can be without."""

    #: the default is never read: what is merged is the document itself
    name: Line = Field(default_factory=str)
    email: Email | None = None
    metadata: dict[MetadataName, MetadataValue | None] | None = None


class WebhookEndpointPut(Body):
    """Where events go; without `events` all of them do."""

    url: WebhookUrl
    secret: WebhookSecret
    events: Annotated[list[EventType], Field(min_length=1, max_length=32)] | None = None


class WebhookEndpoint(BaseModel):
    """Where events go."""

    object: str = "webhook_endpoint"
    url: str
    events: list[EventType] | None
    created_at: datetime
    updated_at: datetime


class ProviderWebhook(BaseModel):
    """What the provider sends; other members are its own business."""

    type: str
    data: dict[str, Any]


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise ValueError("must be an integer")
    return value


# The bounds stand first: behind a validator they would not reach the OpenAPI document.
Limit = Annotated[int, Field(ge=1, le=100, description="Entries of a page, at most."), BeforeValidator(_digits)]
Cursor = Annotated[
    str,
    Field(max_length=64, description="The `next_cursor` of the page before.", json_schema_extra={"pattern": CURSOR}),
]


class Page(Query):
    """Where in a list."""

    limit: Limit = 20
    cursor: Cursor | None = None


class PaymentsPage(Page):
    """Which payments."""

    status: PaymentStatus | None = None
    customer_id: Identifier | None = None


class Payment(BaseModel):
    """A payment."""

    id: str
    object: str = "payment"
    status: PaymentStatus
    amount: int
    currency: str
    amount_refunded: int
    customer_id: str | None
    reference: str | None
    description: str | None
    metadata: dict[str, str]
    decline_code: str | None
    created_at: datetime
    updated_at: datetime


class Payments(BaseModel):
    """A page of payments, newest first."""

    data: list[Payment]
    next_cursor: str | None


class Refund(BaseModel):
    """A refund."""

    id: str
    object: str = "refund"
    payment_id: str
    status: RefundStatus
    amount: int
    reason: str | None
    failure_code: str | None
    created_at: datetime
    updated_at: datetime


class Refunds(BaseModel):
    """A page of refunds, newest first."""

    data: list[Refund]
    next_cursor: str | None


class Customer(BaseModel):
    """A customer."""

    id: str
    object: str = "customer"
    name: str
    email: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


class Me(BaseModel):
    """Who the token says that you are."""

    sub: str
    tenant: str
    scopes: list[str]
    roles: list[str]
    #: null where a gateway vouches for you, and the API does not see the token
    expires_at: datetime | None


class Health(BaseModel):
    """Whether the process is well."""

    status: str


def body_error(error: ValidationError) -> InvalidBodyError:
    """Return the problem that names every wrong member by its JSON Pointer."""
    return InvalidBodyError([_member("/", found) for found in error.errors(include_url=False, include_input=False)])


def parameter_error(error: ValidationError) -> InvalidParameterError:
    """Return the problem that names every wrong query parameter."""
    return InvalidParameterError(
        [_member("?", found) for found in error.errors(include_url=False, include_input=False)]
    )


def _member(sign: str, found: ErrorDetails) -> MemberError:
    path = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in found["loc"] if part != "[key]")
    return MemberError(pointer=sign + path, detail=found["msg"].removeprefix("Value error, "))
