"""What does a request need of the process? Opened once, by app/main.py, and handed to every call."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.auth.rate_limit import RateLimit
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.auth.vouched import Vouched
from paidonce.app.carts.store import Carts
from paidonce.app.clock import Clock
from paidonce.app.draining import Drain
from paidonce.app.messaging.hint import Hinter
from paidonce.app.payments.provider_chosen import Webhooks
from paidonce.app.payments.service import Payments
from paidonce.app.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """All that lives as long as the process."""

    settings: Settings
    clock: Clock
    #: whether this process is about to stop
    drain: Drain
    engine: AsyncEngine
    trust: Trust
    verifier: Verifier
    #: None: the API verifies every token itself
    vouched: Vouched | None
    rate_limit: RateLimit
    payments: Payments
    carts: Carts
    #: how the provider's webhooks are read
    webhooks: Webhooks
    #: to be told after every COMMIT that wrote an event
    hinter: Hinter
