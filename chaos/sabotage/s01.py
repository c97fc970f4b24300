"""S1: the key is looked for first and stored with the work, by an upsert that never loses.

Two requests at once both find no key, and both pay: the second one's upsert waits for the first one's row, and
takes it over.
"""

from paidonce.app.idempotency import store as keys
from paidonce.app.payments import store as payments
from paidonce.chaos.sabotage.patching import reword

CLAIM = "ON CONFLICT (tenant, endpoint, idem_key) DO NOTHING"
LOOK_THEN_UPSERT = """
         WHERE NOT EXISTS (
                   SELECT FROM idempotency AS found
                    WHERE (found.tenant, found.endpoint, found.idem_key)
                        = (wanted.tenant, wanted.endpoint, wanted.idem_key))
        ON CONFLICT (tenant, endpoint, idem_key)
        DO UPDATE SET response_body = EXCLUDED.response_body, response_headers = EXCLUDED.response_headers,
                      resource_id = EXCLUDED.resource_id
"""


def take_out() -> None:
    """Check, then insert."""
    reword(keys, "CLAIM", CLAIM, LOOK_THEN_UPSERT)
    reword(payments, "ACCEPT", CLAIM, LOOK_THEN_UPSERT)
