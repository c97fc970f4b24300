"""S11: an effect is claimed, called and settled in one transaction, which commits when all is done.

A worker that dies after the call takes the claim back with it: nobody knows that anything was ever sent.
"""

import asyncio

from sqlalchemy import Connection

from paidonce.app import db
from paidonce.app.messaging import effects
from paidonce.app.messaging.effect_rules import decide, may_send
from paidonce.chaos.sabotage.patching import swap
from paidonce.workers.effect_lane import Claim, Lane


async def claim_call_and_settle(lane: Lane) -> int:
    """Do what is due in one transaction, the calls included; return how many effects it was."""
    kind, settings, began = lane._kind, lane._settings, lane._clock.monotonic()
    async with db.begin_async(lane._bind) as tx:
        claimed = await tx.run_sync(
            effects.claim_due,
            kind.name,
            limit=settings.effect_parallel,
            lease_s=settings.effect_lease_s,
            repeats=kind.repeats_for is not None,
        )
        sends = [may_send(effect, lane._rules, effect.claimed_at) for effect in claimed]
        claims = [Claim(effect, began, began + settings.effect_lease_s) for effect in claimed]
        answers = await asyncio.gather(
            *(lane._ask(claim, send=send) for claim, send in zip(claims, sends, strict=True))
        )

        def settle(tx: Connection) -> None:
            for effect, send, answer in zip(claimed, sends, answers, strict=True):
                decision = decide(effect, answer, sent=send, rules=lane._rules)
                effects.finish(tx, effect, decision, asked="call" if send else "look_up", answer=answer)
                if decision.settled is not None:
                    kind.settle(tx, effect, decision.settled)

        await tx.run_sync(settle)
    return len(claimed)


def take_out() -> None:
    """Call the provider inside the transaction."""
    swap(Lane, "_begin", claim_call_and_settle)
