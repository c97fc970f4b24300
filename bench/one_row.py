"""What does a consumer cost whose handler writes one ledger row a message? The product's consumer, with that handler.

The ledger of the product writes two lines a message, which the database checks to sum to zero:
it is measured beside this one (bench/inbox.py).
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from paidonce.app.clock import new_id
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Outcome
from paidonce.app.settings import settings
from paidonce.workers import consumer

#: The table of both: ours and the peer's (bench/peers/one_transaction_app.py).
TABLE = """
CREATE TABLE bench_ledger (
    transaction_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    currency char(3) NOT NULL,
    amount bigint NOT NULL,
    payment_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""
RECORD = """
INSERT INTO bench_ledger (transaction_id, tenant, currency, amount, payment_id)
SELECT * FROM unnest(%(ids)s::uuid[], %(tenants)s::text[], %(currencies)s::text[], %(amounts)s::bigint[],
                     %(payments)s::uuid[])
"""


def work(tx: Connection, messages: Sequence[Message]) -> Mapping[str, Outcome]:
    """Record every message's movement in one statement, a row each."""
    documents = [message.json() for message in messages]
    payments = [document["data"]["payment"] for document in documents]
    parameters = {
        "ids": [new_id() for _ in messages],
        "tenants": [document["tenant"] for document in documents],
        "currencies": [payment["currency"] for payment in payments],
        "amounts": [payment["amount"] for payment in payments],
        "payments": [payment["id"] for payment in payments],
    }
    tx.exec_driver_sql(RECORD, parameters)
    return {message.message_id: Done() for message in messages}


SUBSCRIBER = Subscriber("bench", frozenset({"payment.captured"}), work)

if __name__ == "__main__":
    consumer.serve(settings(), SUBSCRIBER)
