"""Which strike of a round that is not valid is to blame? Each of them is made again, alone, on the same stack."""

from dataclasses import replace

from paidonce.chaos.atlas.ground import Ground
from paidonce.chaos.atlas.judge import Judge
from paidonce.chaos.atlas.rounds import Outcome, Round, strike

#: Where the numbers of strikes that are made again begin.
AGAIN_FROM = 10_000


def is_in_doubt(made: Round) -> bool:
    """Tell whether the round speaks of several strikes at once, and not well."""
    struck = [one for one in made.outcomes if one.struck is not None]
    return len(struck) > 1 and any(one.result in {"invalid", "unknown"} for one in struck)


def take_apart(ground: Ground, judge: Judge, made: Round) -> None:
    """Make each strike of the round again by itself, and let it answer for what came of that.

    Where each is valid alone, the round stands as it was: they are guilty in company only.
    """
    alone = {one.target.number: _again(ground, judge, made, one) for one in made.outcomes if one.struck is not None}
    guilty = [one.target.strike.text for one in alone.values() if one.result != "valid"]
    for one in made.outcomes:
        again = alone.get(one.target.number)
        if again is None:
            continue
        if not guilty:
            one.why = f"in company only, alone it is valid; {one.why}"
        elif one.result != "valid" or again.result != "valid":
            one.result = again.result
            one.why = again.why or f"alone; its round was not, because of {', '.join(guilty)}"


def _again(ground: Ground, judge: Judge, made: Round, one: Outcome) -> Outcome:
    target = replace(one.target, number=AGAIN_FROM + one.target.number)
    again = strike(ground, judge, made.number, [target])
    made.subjects += again.subjects
    made.seconds += again.seconds
    return again.outcomes[0]
