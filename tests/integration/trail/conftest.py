"""One database for the folder, and a payment's story told in it, chapter by chapter, by the product's own functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Engine, text

from paidonce.app import db
from paidonce.app.clock import SystemClock, new_id
from paidonce.app.idempotency import store as keys
from paidonce.app.idempotency.store import Claim, Response
from paidonce.app.messaging import effects, inbox, outbox
from paidonce.app.messaging.answers import NoAnswer, Succeeded
from paidonce.app.messaging.effect_rules import Decision
from paidonce.app.messaging.envelope import Event, Message
from paidonce.app.payments import charging, refunds, store
from paidonce.app.payments.events import payment_event
from paidonce.app.payments.model import Payment
from paidonce.app.payments.provider import ProviderCharge
from paidonce.app.settings import Settings
from paidonce.app.trail.model import Entry, Trail
from paidonce.app.trail.trail import trail_of
from paidonce.devstack.postgres import Postgres
from paidonce.workers import leases, relay_session, windows
from paidonce.workers.consumer import SUBSCRIBERS

UNKNOWN = Decision(state="unknown", delay=timedelta(hours=1), open_attempt=True)


@dataclass
class Story:
    """A payment of acme's."""

    settings: Settings
    bind: Engine
    payment_id: UUID = field(default_factory=new_id)
    key: str = field(default_factory=lambda: uuid4().hex)
    reference: str = field(default_factory=lambda: uuid4().hex)

    def accept(self) -> None:
        now = SystemClock().now()
        values = {"amount": 1999, "currency": "EUR", "payment_method": "pm_card_secret", "description": "Ada Lovelace"}
        payment = Payment(
            id=self.payment_id, tenant="acme", reference=self.reference, created_at=now, updated_at=now, **values
        )
        claim = Claim("acme", "POST /v1/payments", self.key, "a" * 64, timedelta(hours=72))
        with db.begin(self.bind) as tx:
            assert keys.take(tx, claim)
            store.add(tx, payment)
            self._tell(tx, payment_event("payment.accepted", payment, now, headers={"traceparent": f"00-{'ab' * 16}-"}))
            keys.keep(tx, claim, Response(201, b"{}", {}, str(payment.id)))

    def refund(self, amount: int) -> UUID:
        with db.begin(self.bind) as tx:
            payment = store.save(tx, store.lock(tx, self.payment_id))
            refund = refunds.add(tx, payment, amount, "it came back")
            self._tell(tx, payment_event("payment.refund_requested", payment, payment.updated_at, refund))
        return refund.id

    def _tell(self, tx: Any, event: Event) -> None:
        outbox.append(tx, event, bytes_max=self.settings.message_bytes_max)

    def events(self) -> list[outbox.Appended]:
        with self.bind.connect() as tx:
            return outbox.of_aggregate(tx, "payment", str(self.payment_id), most=100)

    def event(self, type_: str = "payment.accepted") -> outbox.Appended:
        return next(one for one in self.events() if one.type == type_)

    def record(self, *, events_max: int = 1_000) -> None:
        """Record the windows of everything that waits, in all shards."""
        with relay_session.open_session(self.settings, self.bind) as session:
            for shard in range(2):
                lease = leases.acquire(session, f"relay-shard-{shard}", "test", for_s=600)
                assert lease is not None
                newest = windows.newest(session, shard)
                while found := windows.record_next(session, lease, shard, newest, events_max=events_max):
                    newest = found[0]
                leases.release(session, lease)

    def publish(self) -> None:
        """The same, and mark them as published."""
        self.record()
        self.execute("UPDATE relay_windows SET published = clock_timestamp() WHERE published IS NULL")

    def consume(self, *consumers: str) -> None:
        """Let consumers get every event that they have not got, and work on what is theirs."""
        for name in consumers or sorted(SUBSCRIBERS):
            with db.begin(self.bind) as tx:
                ids = [str(event.id) for event in self.events()]
                new = inbox.claim(tx, name, ids)
                wanted = [one for one in self._messages(tx) if one.message_id in new]
                ours = [one for one in wanted if one.type in SUBSCRIBERS[name].types]
                if ours:
                    SUBSCRIBERS[name].work(tx, ours)

    def _messages(self, tx: Any) -> Sequence[Message]:
        rows = tx.execute(
            text("SELECT id::text, type, aggregateid, payload FROM outbox WHERE aggregateid = :id ORDER BY position"),
            {"id": str(self.payment_id)},
        )
        return [Message(id_, type_, key, bytes(value), {}) for id_, type_, key, value in rows]

    def _claimed(self, tx: Any, kind: str, subject: str) -> Any:
        tx.execute(
            text("UPDATE effects SET next_attempt_at = now() - interval '1 day' WHERE subject = :id"), {"id": subject}
        )
        claimed = effects.claim_due(tx, kind, limit=1, lease_s=60, repeats=kind == "webhook")
        assert [one.subject for one in claimed] == [subject]
        return claimed[0]

    def charge(self) -> None:
        """Let the provider capture it."""
        with db.begin(self.bind) as tx:
            effect = self._claimed(tx, "charge", str(self.payment_id))
            said = {"id": "ch_7", "status": "captured", "amount": 1999, "currency": "EUR"}
            answer = Succeeded(said | {"reference": str(self.payment_id)})
            assert effects.finish(tx, effect, Decision(state="done", settled=answer), asked="call", answer=answer)
            charging.settle_charge(tx, ProviderCharge.model_validate(dict(answer.body)))

    def no_answer(self) -> None:
        """Let the provider not answer."""
        with db.begin(self.bind) as tx:
            effect = self._claimed(tx, "charge", str(self.payment_id))
            assert effects.finish(tx, effect, UNKNOWN, asked="call", answer=NoAnswer("time limit"))

    def deliver(self, type_: str) -> None:
        """Let the merchant take the webhook of an event."""
        with db.begin(self.bind) as tx:
            effect = self._claimed(tx, "webhook", str(self.event(type_).id))
            answer = Succeeded({})
            assert effects.finish(tx, effect, Decision(state="done", settled=answer), asked="call", answer=answer)

    def payment(self) -> Payment:
        with self.bind.connect() as tx:
            found = store.get_any(tx, self.payment_id)
        assert found is not None
        return found

    def execute(self, statement: str, **parameters: Any) -> None:
        with db.begin(self.bind) as tx:
            tx.execute(text(statement), parameters)

    def trail(self, tenant: str | None = None, **changed: Any) -> Trail:
        with self.bind.connect() as tx:
            found = trail_of(tx, self.settings.model_copy(update=changed), self.payment_id, tenant)
        assert found is not None
        return found

    def gaps(self, **changed: Any) -> list[str]:
        return [entry.what for entry in self.trail(**changed).gaps]

    def entry(self, what: str) -> Entry:
        return next(entry for entry in self.trail().entries if entry.what == what)


@pytest.fixture(scope="session")
def trail_settings(postgres: Postgres, template: str) -> Iterator[Settings]:
    name = f"paidonce_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield Settings(dsn=urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl())
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def trail_bind(trail_settings: Settings) -> Iterator[Engine]:
    made = db.engine(trail_settings)
    yield made
    made.dispose()


@pytest.fixture
def story(trail_settings: Settings, trail_bind: Engine) -> Story:
    """A payment that was accepted, and nothing more."""
    told = Story(trail_settings, trail_bind)
    told.accept()
    return told
