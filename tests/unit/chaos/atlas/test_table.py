"""Do table, atlas.json and last line say what was struck, and does a step that was missed count against it?"""

import orjson
import pytest
from rich.console import Console

from paidonce.chaos.atlas import table
from paidonce.chaos.atlas.rounds import Outcome, Round
from paidonce.chaos.atlas.targets import targets
from paidonce.chaos.orders import Struck
from paidonce.chaos.page.heat import Atlas, of_atlas


@pytest.fixture
def outcomes() -> list[Outcome]:
    """Two steps, all of one struck, one strike of the other's two not."""
    made = []
    for one in targets("relay.send,relay.commit", ["kill"]):
        reached = one.strike.text != "relay.commit:after:kill"
        struck = Struck(one.number, 1.0, 9, "relay") if reached else None
        made.append(Outcome(one, 1, "valid" if reached else "unreached", "" if reached else "nobody passed", struck))
    return made


STEPS = ["relay.commit", "relay.send"]


def test_a_step_is_covered_when_every_strike_at_it_was_made(outcomes: list[Outcome]) -> None:
    assert table.coverage(STEPS, outcomes) == 0.5
    said = table.summary(STEPS, outcomes)
    assert (said["coverage"], said["valid"], said["unreached"], said["invalid"]) == (0.5, 3, 1, 0)
    assert said["unreached_strikes"] == ["relay.commit:after:kill"]


def test_the_page_reads_the_document(outcomes: list[Outcome]) -> None:
    read = Atlas.model_validate_json(orjson.dumps(table.document(STEPS, outcomes)))
    heat = of_atlas(read)
    assert heat.columns == ["kill before", "kill after"]
    assert [[cell.tone for cell in row.cells] for row in heat.rows] == [["good", "nothing"], ["good", "good"]]


def test_the_screen_shows_each_step_and_why_a_strike_failed(outcomes: list[Outcome]) -> None:
    console = Console(record=True, width=120, force_terminal=False)
    table.show(STEPS, outcomes, console)
    console.print(table.line(Round(1, outcomes), 3))
    said = console.export_text()
    assert "1 of 2" in said
    assert "relay.commit:after:kill: nobody passed" in said
    assert "round  1 of 3" in said
