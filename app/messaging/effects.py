"""How does a call to the outside survive a crash? It is a row first, claimed, called, then settled.

Each statement writes its line of `effect_history` itself, so that no change of state is without
one (docs/design.md, "Effects"). Leases and every other time are on the database's clock. What an
answer means is in effect_rules.py. Home of the tables `effects` and `effect_history`.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from paidonce.app import trace_context
from paidonce.app.clock import new_id
from paidonce.app.messaging.answers import Answer, Finding, Refused, Succeeded
from paidonce.app.messaging.effect_kinds import Effect
from paidonce.app.messaging.effect_rules import Decision

#: A consumer that runs twice finds the first one's row: one effect for a (kind, subject), ever.
CREATE = """
WITH made AS (
    INSERT INTO effects (id, kind, subject, tenant, request, traceparent)
    VALUES (%(id)s, %(kind)s, %(subject)s, %(tenant)s, %(request)s, nullif(%(traceparent)s, ''))
    ON CONFLICT (kind, subject) DO NOTHING
    RETURNING id, state
)
INSERT INTO effect_history (effect_id, event, state) SELECT id, 'created', state FROM made
"""

# One kind a statement, so that a backlog of webhooks is not read through for a charge. The
# statement's own time is later than the client's clock when it sent it, which the lease check
# relies on, and is one value in every place. A running row that is due has lost its lease: an
# attempt may be open, and it may have sent until that lease's end. `lease_until` of any other row
# is the end of the last attempt that may have sent, as FINISH left it.
CLAIM = """
WITH due AS (
    SELECT id, state AS was, lease_until AS was_until
      FROM effects
     WHERE kind = %(kind)s AND state IN ('pending', 'running', 'unknown') AND next_attempt_at <= statement_timestamp()
     ORDER BY next_attempt_at
     LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE effects
       SET state = 'running',
           attempts = attempts + 1,
           open_attempt = open_attempt OR (due.was = 'running' AND NOT %(repeats)s),
           first_sent_at = coalesce(first_sent_at, statement_timestamp()),
           claim_token = gen_random_uuid(),
           lease_until = statement_timestamp() + %(lease)s::interval,
           next_attempt_at = statement_timestamp() + %(lease)s::interval,
           updated_at = statement_timestamp()
      FROM due
     WHERE effects.id = due.id
    RETURNING effects.id, kind, subject, tenant, request, attempts, open_attempt, first_sent_at,
              was, was_until, claim_token, statement_timestamp() AS claimed_at, lease_until, created_at, traceparent
), noted AS (
    INSERT INTO effect_history (effect_id, claim_token, event, state, detail)
    SELECT id, NULL, 'lease_lost', CASE WHEN %(repeats)s THEN 'pending' ELSE 'unknown' END, '{}'
      FROM claimed WHERE was = 'running'
     UNION ALL
    SELECT id, claim_token, 'claimed', 'running', jsonb_build_object('attempt', attempts, 'was', was) FROM claimed
)
SELECT id, kind, subject, tenant, request, attempts, open_attempt, first_sent_at,
       CASE WHEN open_attempt THEN was_until END AS sent_until,
       claim_token, claimed_at, lease_until, created_at, traceparent
  FROM claimed
"""

# S14: only the claim that is still the row's own may write its result.
FINISH = """
WITH finished AS (
    UPDATE effects
       SET state = %(state)s,
           open_attempt = %(open_attempt)s,
           first_sent_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE first_sent_at END,
           next_attempt_at = clock_timestamp() + %(delay)s::interval,
           lease_until = %(sent_until)s::timestamptz,
           claim_token = NULL,
           response = %(response)s,
           updated_at = clock_timestamp()
     WHERE id = %(id)s AND state = 'running' AND claim_token = %(token)s
    RETURNING id, state
)
INSERT INTO effect_history (effect_id, claim_token, event, state, detail)
SELECT id, %(token)s, 'answered', state, %(detail)s::jsonb FROM finished
RETURNING effect_id
"""

#: Only what may happen twice is ever sent again after it was refused: the caller names such a kind.
AGAIN = """
WITH again AS (
    UPDATE effects
       SET state = 'pending', first_sent_at = NULL, next_attempt_at = statement_timestamp(), response = NULL,
           updated_at = statement_timestamp()
     WHERE kind = %(kind)s AND subject = %(subject)s AND state = 'refused'
    RETURNING id, state
)
INSERT INTO effect_history (effect_id, event, state) SELECT id, 'redriven', state FROM again
RETURNING effect_id
"""

#: All that are open, by the index that finds what is due: effects that ended cost nothing here.
OPEN = text("""
    SELECT kind, state, count(*) AS effects, extract(epoch FROM now() - min(created_at))::float8 AS oldest_s
      FROM effects WHERE state IN ('pending', 'running', 'unknown')
     GROUP BY kind, state
""")
#: The oldest that are unknown, by the index of what is due, each with the last thing that was said of it.
UNKNOWN = text("""
    SELECT id, kind, subject, tenant, attempts, open_attempt, created_at, next_attempt_at, said
      FROM effects
      LEFT JOIN LATERAL (
            SELECT detail AS said FROM effect_history WHERE effect_id = effects.id AND event = 'answered'
             ORDER BY effect_history.id DESC LIMIT 1
           ) AS last ON true
     WHERE state = 'unknown'
     ORDER BY created_at
     LIMIT :most
""")
COUNT_BY_STATE = text("SELECT state, count(*) AS effects FROM effects GROUP BY state")

OF_SUBJECTS = """
    SELECT id, kind, subject, state, attempts, next_attempt_at, created_at, updated_at
      FROM effects JOIN unnest(%(kinds)s::text[], %(subjects)s::text[]) AS wanted (kind, subject) USING (kind, subject)
     ORDER BY created_at, id
"""
HISTORY = """
    SELECT effect_id, event, state, detail, at FROM effect_history
     WHERE effect_id = ANY (%(ids)s::uuid[]) ORDER BY id LIMIT %(most)s
"""
REQUEST = "SELECT request FROM effects WHERE kind = %(kind)s AND subject = %(subject)s"


class Kept(NamedTuple):
    """An effect as it is now, without what is sent and what was answered."""

    id: UUID
    kind: str
    subject: str
    #: pending, running, unknown, done or refused
    state: str
    attempts: int
    #: None: it has ended
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Line(NamedTuple):
    """A line of an effect's history."""

    effect_id: UUID
    #: created, claimed, answered, lease_lost or redriven
    event: str
    #: the effect's after it
    state: str
    detail: dict[str, Any]
    at: datetime


class Unknown(NamedTuple):
    """An effect of which nobody knows whether it happened."""

    id: UUID
    kind: str
    subject: str
    tenant: str
    attempts: int
    open_attempt: bool
    created_at: datetime
    next_attempt_at: datetime | None
    #: the last answer as the history keeps it: what was asked, how it ended; None: there was none
    said: dict[str, Any] | None


def create(tx: Connection, *, kind: str, subject: str, tenant: str, request: bytes) -> None:
    """Write down that `request` is to be sent; nothing happens if (`kind`, `subject`) was written before."""
    row = {"id": new_id(), "kind": kind, "subject": subject, "tenant": tenant, "request": request}
    tx.exec_driver_sql(CREATE, {**row, "traceparent": trace_context.current()})


def claim_due(tx: Connection, kind: str, *, limit: int, lease_s: float, repeats: bool) -> list[Effect]:
    """Claim up to `limit` due effects of `kind` for `lease_s` seconds, each under a fresh token.

    `repeats`: the kind may happen twice, so a lost lease leaves no attempt open.
    """
    lease = timedelta(seconds=lease_s)
    rows = tx.exec_driver_sql(CLAIM, {"kind": kind, "limit": limit, "lease": lease, "repeats": repeats})
    return [Effect(**row) for row in rows.mappings()]


def finish(tx: Connection, effect: Effect, decision: Decision, *, asked: str, answer: Answer | Finding | None) -> bool:
    """Write what became of a claim; `asked` and `answer` go into the history.

    Returns False, having changed nothing, when the claim is no longer the row's.
    """
    settled = decision.settled
    body = dict(settled.body) if isinstance(settled, Succeeded | Refused) else None
    written = tx.exec_driver_sql(
        FINISH,
        {
            "id": effect.id,
            "token": effect.claim_token,
            "state": decision.state,
            "open_attempt": decision.open_attempt,
            "delay": decision.delay,
            "sent_until": decision.sent_until,
            "response": orjson.dumps(body) if body is not None else None,
            "detail": orjson.dumps(_detail(asked, answer)).decode(),
        },
    )
    return written.rowcount == 1


def again(tx: Connection, *, kind: str, subject: str) -> bool:
    """Let a refused effect be pending again, now; False, having changed nothing, when it is not refused.

    `kind` must be one that may happen twice (`Kind.repeats_for`).
    """
    return tx.exec_driver_sql(AGAIN, {"kind": kind, "subject": subject}).rowcount == 1


def count_by_state(tx: Connection) -> dict[str, int]:
    """Return how many effects there are in each state that any is in."""
    return {row.state: row.effects for row in tx.execute(COUNT_BY_STATE)}


def open_by_kind(tx: Connection) -> dict[tuple[str, str], tuple[int, float]]:
    """Return how many effects are open, and the age in seconds of the oldest, by (kind, state); only where any is."""
    return {(row.kind, row.state): (row.effects, row.oldest_s) for row in tx.execute(OPEN)}


def oldest_unknown(tx: Connection, *, limit: int) -> list[Unknown]:
    """Return up to `limit` effects that are unknown, the oldest first."""
    return [Unknown(*row) for row in tx.execute(UNKNOWN, {"most": limit})]


def of_subjects(tx: Connection, wanted: Collection[tuple[str, str]]) -> list[Kept]:
    """Return the effects of these (kind, subject), the oldest first."""
    names = {"kinds": [kind for kind, _ in wanted], "subjects": [subject for _, subject in wanted]}
    return [Kept(*row) for row in tx.exec_driver_sql(OF_SUBJECTS, names)]


def history(tx: Connection, effect_ids: Collection[UUID], *, most: int) -> list[Line]:
    """Return up to `most` lines of these effects' history, in order."""
    rows = tx.exec_driver_sql(HISTORY, {"ids": [str(one) for one in effect_ids], "most": most})
    return [Line(*row) for row in rows]


def request_of(tx: Connection, *, kind: str, subject: str) -> bytes | None:
    """Return the bytes that are sent; None when there is no such effect."""
    found: bytes | None = tx.exec_driver_sql(REQUEST, {"kind": kind, "subject": subject}).scalar()
    return found


def _detail(asked: str, answer: Answer | Finding | None) -> dict[str, Any]:
    """What the history keeps of an answer: what it was, never its body."""
    kept = {name: getattr(answer, name) for name in ("code", "reason", "retry_after_s") if hasattr(answer, name)}
    return {"asked": asked, "answer": type(answer).__name__, **kept}
