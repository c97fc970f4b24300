"""Is this process well, and may it get requests?"""

import asyncio

from sqlalchemy import Connection, text

from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import Health
from paidonce.app.api.transactions import read
from paidonce.app.db import check_schema
from paidonce.app.documents import as_json
from paidonce.app.errors import UnavailableError

#: Seconds that a probe waits: those of orchestrators wait 1 by default, and count a late answer as none.
READY_WAIT_S = 0.9


class NotReadyError(UnavailableError):
    """This process cannot work: the detail says what it is waiting for."""

    code = "not-ready"


async def healthz(_call: Call) -> Reply:
    """Tell that the process runs; nothing behind it is asked."""
    return Reply(200, as_json({"status": "ok"}))


async def readyz(call: Call) -> Reply:
    """Tell that the database takes writes and has our schema, the keys of an issuer are known, and nobody stops us."""
    if call.services.drain.begun:
        raise NotReadyError("this process stops")
    if call.services.vouched is None and not call.services.trust.usable():
        raise NotReadyError("the issuer's key set is not known yet")
    try:
        async with asyncio.timeout(READY_WAIT_S):
            await read(call.services.engine, _check)
    except NotReadyError:
        raise
    except Exception as error:  # whatever is wrong with the database, we are not ready
        raise NotReadyError("the database does not answer, or has another schema version") from error
    return Reply(200, as_json({"status": "ready"}))


def _check(tx: Connection) -> None:
    check_schema(tx)
    # A standby, or a primary that its operators have closed to writes: another replica may have a better one.
    if tx.scalar(text("SHOW transaction_read_only")) == "on":
        raise NotReadyError("the database takes no writes")


OPERATIONS = (
    Operation(
        method="GET",
        path="/healthz",
        handler=healthz,
        tag="health",
        summary="Whether the process runs",
        answers={200: Health},
        example={"status": "ok"},
    ),
    Operation(
        method="GET",
        path="/readyz",
        handler=readyz,
        tag="health",
        summary="Whether the process may get requests",
        answers={200: Health},
        example={"status": "ready"},
        problems=(NotReadyError,),
    ),
)
