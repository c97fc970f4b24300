"""Which events wait in the outbox? As many as asked for, of 400 bytes, like those of captured payments."""

import psycopg

#: Bytes of a payload: a captured payment's with a reference and some metadata.
PAYLOAD_BYTES = 400
#: The end of a payload, behind what fills it up.
_END = '"}}}'

_ROWS = f"""
    SELECT uuidv7() AS id, key, type, sequence,
           rpad(format('{{"tenant":"acme","type":"%%s","created_at":"2026-11-23T10:00:00.000000Z","data":{{"payment":'
                       '{{"id":"%%s","object":"payment","status":"captured","amount":1999,"currency":"EUR",'
                       '"amount_refunded":0,"decline_code":null,"metadata":{{"cart":"7f3a"}},"reference":"order-%%s",'
                       '"description":"', type, key, n), {PAYLOAD_BYTES - len(_END)}, 'x') || '{_END}' AS payload,
           jsonb_build_object('traceparent', format('00-%%s-%%s-01', md5(n::text), left(md5(key), 16))) AS headers
      FROM generate_series(1, %(events)s) AS n,
           LATERAL (SELECT md5(%(seed)s || ((n - 1) / %(each)s))::uuid::text AS key, (n - 1) %% %(each)s + 1 AS sequence
                   ) AS place,
           LATERAL (SELECT CASE WHEN sequence < %(each)s THEN 'payment.accepted' ELSE 'payment.captured' END AS type
                   ) AS kind
"""  # noqa: S608  our own text

_OUTBOX = f"""
INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
SELECT id, 'payment', key, type, sequence, convert_to(payload, 'UTF8'), headers FROM ({_ROWS}) AS event
"""  # noqa: S608  our own text

#: The same bytes under the same headers as ours have on the topic; the peer adds two of its own.
_PEER = f"""
INSERT INTO outbox (queue, payload, headers)
SELECT 'payments', convert_to(payload, 'UTF8'),
       headers || jsonb_build_object(
           'ce_specversion', '1.0', 'ce_id', id, 'ce_source', '/paidonce', 'ce_type', type, 'ce_subject', key,
           'ce_time', now(), 'ce_sequence', sequence::text, 'content-type', 'application/json',
           'message-id', id, 'correlation_id', id)
  FROM ({_ROWS}) AS event
"""  # noqa: S608  our own text


def fill(dsn: str, events: int, *, each: int = 2, seed: str = "payment-") -> None:
    """Commit so many events in one transaction, `each` to a payment, the last one its capture."""
    with psycopg.connect(dsn) as connection:
        connection.execute(_OUTBOX, {"events": events, "each": each, "seed": seed})


def fill_peer(dsn: str, events: int, *, each: int = 2, seed: str = "payment-") -> None:
    """Commit the same events into the table of faststream-outbox, in a database of its own."""
    with psycopg.connect(dsn) as connection:
        connection.execute(_PEER, {"events": events, "each": each, "seed": seed})
