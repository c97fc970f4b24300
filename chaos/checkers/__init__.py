"""Which promises are checked after a run? All of them, in the order in which a reader would ask."""

from collections.abc import Sequence

from paidonce.chaos.checkers import answers, events, histories, money, outside, waiting
from paidonce.chaos.checkers.verdict import Checker
from paidonce.chaos.facts import Result

CHECKERS = (
    Checker("one-capture", "No payment was charged more than once", money.one_capture, "captures"),
    Checker("right-amount", "Every charge has the amount that was asked for", money.right_amount, "charges"),
    Checker("asked-for", "Nobody was charged without having asked", money.charge_asked_for, "charges"),
    Checker("one-payment-a-key", "One key made one payment", answers.one_payment_a_key, "keys"),
    Checker("ended-once", "No payment ended more than once", histories.ended_once, "ended payments"),
    Checker("refunds-bounded", "No refund went out twice or above the charge", money.refunds_bounded, "refunds"),
    Checker("cancel-honoured", "What was canceled was never charged", money.cancel_honoured, "canceled payments"),
    Checker(
        "acknowledged", "Every answer that said yes came true, and is final", answers.acknowledged_exists, "answers"
    ),
    Checker("books-agree", "Status, ledger and provider say the same", money.books_agree, "payments"),
    Checker(
        "ledger-balances", "The ledger sums to zero, and to captures minus refunds", money.ledger_balances, "entries"
    ),
    Checker("booked-once", "Each capture and each refund was booked once", money.booked_once, "ledger transactions"),
    Checker("tenants-apart", "No tenant was told of another's", answers.tenants_apart, "answers"),
    Checker("same-answer", "The same key got the same bytes", answers.same_key_same_answer, "repeated keys"),
    Checker("mismatch-refused", "A used key with another payload was refused", answers.mismatch_refused, "attempts"),
    Checker("answers-expected", "No answer was an unannounced error", answers.answers_expected, "answers"),
    Checker("reads-agree", "The API showed the clients what is so", answers.reads_agree, "payments read"),
    Checker("announced", "Every accepted payment has its event", events.announced, "payments"),
    Checker("published-once", "Every event is on the Kafka topic exactly once", events.published_once, "events"),
    Checker("in-order", "The events of a payment are in order", events.in_order, "payments"),
    Checker("windows-follow", "Each window begins where the last one ended", histories.windows_follow, "windows"),
    Checker("handled", "Every event was worked on by each consumer", events.handled, "events"),
    Checker("results-fenced", "Only who held a call wrote its result", histories.results_fenced, "answers"),
    Checker("delivered", "The merchants were told of every event", events.delivered, "events"),
    Checker("prompt", "Nothing stayed open for long without a fault", waiting.prompt, "waits"),
    Checker("nothing-unknown", "Nothing is left open, put aside or given up", events.nothing_unknown, "outside calls"),
)

#: What can be looked at from outside, at a pipeline that is not ours. Those of the same name are promises of ours too.
OUTSIDE = (
    CHECKERS[0],
    CHECKERS[1],
    Checker(
        "asked-for", "Nobody was charged without having asked, or after a refusal", outside.charge_wanted, "charges"
    ),
    Checker(
        "nothing-lost",
        "Every accepted payment was charged or declined",
        outside.nothing_lost,
        "accepted payments",
    ),
    Checker("same-answer", "The same key got the same payment", outside.same_key_same_payment, "repeated keys"),
)


#: Of runs that look at what lives through them.
FLAT = Checker("flat", "What no fault stopped holds no more memory and files", waiting.flat, "processes")


def applicable(result: Result) -> Sequence[Checker]:
    """Return the checkers that have something to look at in such a run."""
    ours = (*CHECKERS, FLAT) if result.facts.sizes else CHECKERS
    return OUTSIDE if result.pipeline else ours


def not_looked_at(result: Result) -> Sequence[Checker]:
    """Return those of our promises of which such a run says nothing: neither kept nor broken."""
    known = {checker.name for checker in applicable(result)}
    return [checker for checker in CHECKERS if checker.name not in known]
