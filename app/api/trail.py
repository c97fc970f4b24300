"""The trail over HTTP: one payment's whole path, for the operator of its tenant (docs/design.md, "The API")."""

from datetime import datetime

from pydantic import BaseModel

from paidonce.app.api import examples
from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.reply import Reply
from paidonce.app.api.transactions import read
from paidonce.app.documents import as_json
from paidonce.app.errors import NotFoundError
from paidonce.app.payments.model import PaymentStatus
from paidonce.app.trail.model import Kafka, Stage, trail_document
from paidonce.app.trail.trail import trail_of


class TrailEntry(BaseModel):
    """One thing that happened, or a gap."""

    #: when it happened; of a gap since when it is missing
    at: datetime
    stage: Stage
    what: str
    ids: dict[str, str]
    gap: bool
    #: by retention, which is no gap
    removed: bool


class Trail(BaseModel):
    """A payment's whole path, in the order of time."""

    object: str = "trail"
    payment_id: str
    tenant: str
    status: PaymentStatus
    amount: int
    amount_refunded: int
    currency: str
    kafka: Kafka
    complete: bool
    gaps: int
    entries: list[TrailEntry]


async def get(call: Call) -> Reply:
    """Show one payment's whole path with times and ids, and name what is missing in it.

    Kafka is not asked, so partitions and offsets are not shown: `paidonce trail` looks for them. Needs the
    role `operator`.
    """
    services = call.services
    found = await read(services.engine, trail_of, services.settings, call.uuid("payment_id"), call.tenant)
    if found is None:
        raise NotFoundError
    return Reply(200, as_json(trail_document(found)))


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/payments/{payment_id}/trail",
        handler=get,
        tag="trail",
        summary="Show how a payment came about",
        answers={200: Trail},
        example=examples.TRAIL,
        problems=(NotFoundError,),
    ),
)
