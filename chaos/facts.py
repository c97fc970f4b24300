"""What is known after a run? The witnesses' accounts in one shape; the checkers read nothing else.

None of them is the code under test: the clients' history, the provider's journal, the topic,
the tables and the merchant's mailbox (docs/design.md, "The fault rig"). Amounts are
integer minor units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paidonce.chaos.history import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A charge in the provider's journal; `reference` is the payment's id."""

    id: str
    key: str
    reference: str
    status: str
    amount: int
    currency: str
    #: seconds since 1970
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRefund:
    """A refund in the provider's journal; `reference` is the refund's id, `charge` the provider's charge."""

    id: str
    key: str
    reference: str
    charge: str
    status: str
    amount: int
    #: seconds since 1970
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRow:
    """A row of `payments`; `subject` is the client's own reference."""

    id: str
    tenant: str
    subject: str | None
    status: str
    amount: int
    currency: str
    amount_refunded: int
    provider_charge_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRow:
    """A row of `refunds`; `subject` is the client's own name for it, sent as the reason."""

    id: str
    payment_id: str
    tenant: str
    subject: str | None
    status: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """A row of `ledger_entries`; debits are positive."""

    transaction_id: str
    account: str
    tenant: str
    currency: str
    amount: int
    kind: str
    payment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRow:
    """A row of `effects`: a call to the outside."""

    kind: str
    subject: str
    tenant: str
    state: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectLine:
    """A line of `effect_history`, in the order of their ids; `token` is the claim's."""

    kind: str
    subject: str
    #: created, claimed, lease_lost, answered, redriven
    event: str
    state: str
    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """A row of `relay_windows`; `s1` and `s2` are snapshots as text, (lo, hi] positions."""

    shard: int
    number: int
    epoch: int
    s1: str
    s2: str
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """A committed row of `outbox`; an event that was published again has several."""

    id: str
    tenant: str
    key: str
    type: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that was begun and done; both in seconds since 1970, by the database's clock."""

    #: payment, refund, call or event
    what: str
    subject: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a process held when it was looked at."""

    name: str
    pid: int
    #: seconds since 1970
    at: float
    #: bytes in the machine's memory
    memory: int
    #: open file descriptors
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRecord:
    """A record that a `read_committed` reader got from the topic, in the order of its partition."""

    message_id: str
    key: str
    type: str
    sequence: int
    partition: int
    offset: int
    #: seconds since 1970, by the producer's clock
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A webhook as it arrived at the merchant's address for `tenant`."""

    tenant: str
    webhook_id: str
    sha256: str
    verified: bool
    #: what the merchant answered
    status: int
    #: seconds since 1970 at which it arrived
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that was planned, and what became of it."""

    #: names it among those of its run
    number: int = 0
    #: a name in chaos/nemeses/__init__.py, or `strike`
    kind: str
    target: str
    #: seconds since 1970 at which it was seen to have fired; None: it did not fire
    fired_at: float | None
    #: seconds since 1970 at which its cause was over
    healed_at: float | None = None
    #: seconds from then until whom it struck worked again; None: that was not seen
    back_after_s: float | None = None
    #: what was seen of it, or why it did not fire
    saw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known about one run."""

    operations: Sequence[Operation] = ()
    charges: Sequence[Charge] = ()
    provider_refunds: Sequence[ProviderRefund] = ()
    #: calls that the provider got, repeated ones included
    provider_calls: int = 0
    #: how the provider behaved (chaos/witnesses.py) -> how often
    provider_answers: Mapping[str, int] = field(default_factory=dict)
    payments: Sequence[PaymentRow] = ()
    #: number of an answer that accepted a payment -> what it calls the payment; of somebody else's pipeline only
    named: Mapping[int, str] = field(default_factory=dict)
    refunds: Sequence[RefundRow] = ()
    ledger: Sequence[LedgerLine] = ()
    effects: Sequence[EffectRow] = ()
    effect_history: Sequence[EffectLine] = ()
    windows: Sequence[WindowRow] = ()
    events: Sequence[EventRow] = ()
    #: of what was done in the end
    waits: Sequence[Wait] = ()
    #: of processes that no fault stops, by time; only of runs that look (Plan.spares)
    sizes: Sequence[Size] = ()
    topic: Sequence[TopicRecord] = ()
    deliveries: Sequence[Delivery] = ()
    #: tenants that had an address for webhooks before their first payment
    endpoints: frozenset[str] = frozenset()
    faults: Sequence[Fault] = ()
    #: whether the provider got no more calls in the end; while it does, nothing that is missing is lost
    at_rest: bool = True
    #: messages put aside or given up, as `consumer message reason`
    parked: Sequence[str] = ()
    dead_letters: Sequence[str] = ()
    #: events that one of our consumers never worked on, as `consumer event type`
    unhandled: Sequence[str] = ()
    #: seconds without a fault within which whatever is begun must be done
    drain_within_s: float = 30.0
    #: kinds of effects of which some must stay unknown for a person, because the provider's dialect leaves no other way
    expected_unknown: frozenset[str] = frozenset()
    #: behaviour of the provider that has to be met, or the run does not show what it is about
    expected_answers: frozenset[str] = frozenset()

    def left_unknown(self, kind: str) -> frozenset[str]:
        """Return the subjects of effects of that kind that are unknown as the plan expects; of another kind, none."""
        found = (row.subject for row in self.effects if row.kind == kind and row.state == "unknown")
        return frozenset(found) if kind in self.expected_unknown else frozenset()


@dataclass(frozen=True, slots=True)
class Drained:
    """How the wait for everything to be final ended."""

    seconds: float
    #: what was still not finished at the end, and how much of it; empty when all was
    stuck: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run left behind."""

    #: the plan's name
    plan: str
    seed: int
    payments: int
    #: seconds from the first payment to the last client that was through
    load_s: float
    #: payments that the clients were through with when the load ended
    through: int
    #: seconds after the load within which everything had to be final
    drain_within_s: float
    drained: Drained
    facts: Facts
    #: what makes the same run again; empty: nothing of the command line does
    command: str = ""
    #: safeguards that were missing
    taken_out: Sequence[str] = ()
    #: `module:name` of the adapter of somebody else's pipeline; empty: the run was of Paidonce, on its own stack
    pipeline: str = ""
