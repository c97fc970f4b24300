"""Which processes `paidonce up` starts for a team: one a consumer that their handlers name, as another process says."""

import pytest

from paidonce.devstack.errors import StackError
from paidonce.devstack.yours import Yours

HANDLERS = """
import os
from paidonce import Done, Message, handler
from sqlalchemy import Connection
os.environ["PAIDONCE_DSN"]
for consumer in ("stock", "audit"):
    @handler("order.placed", consumer=consumer)
    def work(tx: Connection, message: Message) -> Done:
        return Done()
    globals()[consumer] = work
"""


def test_a_process_for_each_consumer_one_for_the_executors_and_the_application(tmp_path) -> None:
    (tmp_path / "own_handlers.py").write_text(HANDLERS)
    yours = Yours("shop:app", ["own_handlers"], ["shop.receipts"], folder=tmp_path)
    members = {one.name: one for one in yours.members({"PAIDONCE_DSN": "postgresql://"})}
    assert list(members) == ["consumer-audit", "consumer-stock", "effects-own", "app"]
    assert members["consumer-stock"].arguments == ("consumer", "stock", "--handlers", "own_handlers")
    assert members["effects-own"].arguments == ("effects", "--executors", "shop.receipts")
    assert {one.folder for one in members.values()} == {tmp_path}
    assert members["app"].ready_url == yours.url


def test_nothing_of_yours_is_nothing() -> None:
    assert (Yours().members({}), Yours().url) == ([], None)


@pytest.mark.slow
def test_a_module_that_cannot_be_imported_is_said_before_anything_of_it_starts(tmp_path) -> None:
    (tmp_path / "own_handlers.py").write_text("import no_such_library")
    with pytest.raises(StackError, match="no_such_library"):
        Yours(handlers=["own_handlers"], folder=tmp_path).members({})
    with pytest.raises(StackError, match="there is no module nothing_here"):
        Yours(handlers=["nothing_here"], folder=tmp_path).members({})
