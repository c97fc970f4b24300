"""What an operator has in hand leads to the payment, and no statement of the trail reads a large table through."""

import re
from typing import Any

import pytest
from sqlalchemy import Connection, event

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import effects
from paidonce.app.trail.finding import find
from paidonce.app.trail.trail import trail_of

#: These grow with the payments; the others with consumers and partitions.
LARGE = re.compile(
    "Seq Scan on (outbox|inbox|idempotency|payments|refunds|relay_windows|parked|dead_letters|effect|ledger_entries)"
)

#: Of a few rows any index is good enough to the planner.
#: An id of nothing: the same in every process that collects these tests.
NOBODY = "0199cafe-0000-7000-8000-000000000000"
MANY = """
    INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, resource_id, expires_at)
    SELECT 'acme', 'POST /v1/payments', 'many-' || n, repeat('a', 64), 1, 'r-' || n, now()
      FROM generate_series(1, 5000) AS n
"""


def found(story: Any, text: str) -> list[tuple[str, Any, str]]:
    with story.bind.connect() as tx:
        return [(one.tenant, one.payment_id, one.why) for one in find(tx, text)]


def test_everything_that_names_a_payment_leads_to_it(story: Any) -> None:
    refund_id = story.refund(5)
    for text, why in {
        str(story.payment_id): "payment",
        f"  {str(story.payment_id).upper()} ": "payment",
        story.key: "idempotency_key",
        story.reference: "reference",
        str(story.event().id): "message_id",
        str(refund_id): "refund",
    }.items():
        assert found(story, text) == [("acme", story.payment_id, why)], text


def test_a_key_of_a_refund_leads_to_its_payment(story: Any) -> None:
    refund_id = story.refund(5)
    story.execute(
        "UPDATE idempotency SET resource_id = :refund WHERE idem_key = :key", refund=str(refund_id), key=story.key
    )
    assert found(story, story.key) == [("acme", story.payment_id, "idempotency_key")]


def test_one_key_of_several_tenants_and_endpoints_leads_to_each(
    story: Any, trail_settings: Any, trail_bind: Any
) -> None:
    other = type(story)(trail_settings, trail_bind)
    other.accept()
    move = "UPDATE idempotency SET tenant = :tenant, endpoint = :endpoint, idem_key = :key WHERE idem_key = :was"
    story.execute(move, tenant="zebra", endpoint="POST /v1/carts/{cart_id}/checkout", key=story.key, was=other.key)
    assert {one for _, one, _ in found(story, story.key)} == {story.payment_id, other.payment_id}


def test_one_text_that_is_key_and_reference_leads_there_once(story: Any) -> None:
    story.execute("UPDATE payments SET reference = :key WHERE id = :id", key=story.key, id=story.payment_id)
    assert found(story, story.key) == [("acme", story.payment_id, "idempotency_key")]


def test_a_message_that_left_the_outbox_is_known_by_its_webhook(story: Any) -> None:
    message_id = new_id()
    body = b'{"data": {"payment": {"id": "%s"}}}' % str(story.payment_id).encode()
    with db.begin(story.bind) as tx:
        effects.create(tx, kind="webhook", subject=str(message_id), tenant="acme", request=body)
    assert found(story, str(message_id)) == [("acme", story.payment_id, "message_id")]


@pytest.mark.parametrize(
    "text", ["", "  ", "\0", "a" * 256, "nobody", "0199cafe-0000-7000-8000-000000000000", "ä", "' OR 1=1 --", "%"]
)
def test_what_nobody_knows_leads_nowhere(story: Any, text: str) -> None:
    assert found(story, text) == []


def test_no_statement_reads_a_large_table_through(story: Any) -> None:
    story.publish()
    story.consume()
    story.refund(5)
    story.execute(MANY)
    story.execute("ANALYZE idempotency")
    asked: list[tuple[str, Any]] = []
    with story.bind.connect() as tx:
        event.listen(
            tx, "before_cursor_execute", lambda _c, _k, statement, values, *_: asked.append((statement, values))
        )
        for text in (str(story.payment_id), story.key, story.reference, str(story.event().id)):
            find(tx, text)
        trail_of(tx, story.settings, story.payment_id)
    assert len(asked) > 20
    with story.bind.connect() as tx:
        plans = {statement: plan(tx, statement, values) for statement, values in asked}
    assert [statement for statement, said in plans.items() if LARGE.search(said)] == []
    used = "\n".join(plans.values())
    for index in ("aggregateid_idx", "idempotency_resource", "dead_letters_key", "payments_reference"):
        assert index in used, index


def plan(tx: Connection, statement: str, values: Any) -> str:
    tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
    return "\n".join(tx.exec_driver_sql(f"EXPLAIN {statement}", values).scalars())
