"""What may be a handler of one's own, and what it is handed; all that is wrong is said where it is written."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, create_engine

from paidonce import Done, Message, Poison, handler
from paidonce.app.errors import ConfigurationError
from paidonce.app.yours import executors, handlers
from paidonce.app.yours.handlers import MARK


class OrderPlaced(BaseModel):
    order: str
    pieces: int


@handler("order.placed", consumer="stock")
def reserve(tx: Connection, placed: OrderPlaced) -> Done:
    """Reserve."""
    return Done()


@handler("order.placed", consumer="audit")
@handler("order.canceled", consumer="audit")
def note(tx: Connection, message: Message) -> Done | Poison:
    return Poison(message.type)


def a_message(value: bytes = b'{"order": "o-1", "pieces": 2}', type_: str = "order.placed") -> Message:
    return Message("m-1", type_, "o-1", value, {})


def a_module(monkeypatch: pytest.MonkeyPatch, **members: object) -> str:
    module = ModuleType("a_shop")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, "a_shop", module)
    return "a_shop"


@pytest.fixture
def tx():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def work(subscriber, tx, *messages):
    return list(subscriber.work(tx, messages).values())


def test_a_handler_stays_the_function_that_it_was() -> None:
    assert reserve(None, OrderPlaced(order="o-1", pieces=1)) == Done()  # type: ignore[arg-type]  # a unit test of theirs
    assert reserve.__doc__ == "Reserve."


def test_a_consumer_has_the_handlers_that_name_it(tx, monkeypatch) -> None:
    found = handlers.found([a_module(monkeypatch, reserve=reserve, again=reserve, note=note, other=3)])
    audit, stock = handlers.subscriber("audit", found), handlers.subscriber("stock", found)
    assert (audit.types, stock.types) == ({"order.placed", "order.canceled"}, {"order.placed"})
    assert (audit.aggregatetype, audit.name, audit.alone) == ("order", "audit", False)
    assert work(audit, tx, a_message(type_="order.canceled")) == [Poison("order.canceled")]
    assert work(stock, tx, a_message()) == [Done()]


def test_it_gets_model_and_message_as_its_parameters_say(tx, monkeypatch) -> None:
    got = []

    @handler("order.placed", consumer="both")
    def both(tx: Connection, placed: OrderPlaced, message: Message) -> Done:
        got.append((tx, placed, message.message_id))
        return Done()

    found = handlers.found([a_module(monkeypatch, both=both)])
    assert work(handlers.subscriber("both", found), tx, a_message()) == [Done()]
    assert got == [(tx, OrderPlaced(order="o-1", pieces=2), "m-1")]


@pytest.mark.parametrize(
    ("value", "said"),
    [(b'{"order": "secret", "pieces": "many"}', "pieces: "), (b"[1]", "all of it: "), (b"\xff", "all of it: ")],
)
def test_a_payload_of_another_form_is_poison_and_the_reason_has_none_of_it(tx, value, said, monkeypatch) -> None:
    found = handlers.found([a_module(monkeypatch, reserve=reserve)])
    [outcome] = work(handlers.subscriber("stock", found), tx, a_message(value))
    assert isinstance(outcome, Poison)
    assert outcome.reason.startswith(f"the payload is no OrderPlaced: {said}")
    assert "secret" not in outcome.reason
    assert "many" not in outcome.reason


@pytest.mark.parametrize("end", ["commit", "rollback", "close", "invalidate", "detach"])
def test_it_cannot_end_the_transaction_that_it_is_given(tx, end, monkeypatch) -> None:
    @handler("order.placed", consumer="stock")
    def ends(tx: Connection, placed: OrderPlaced) -> Done:
        getattr(tx, end)()
        return Done()

    found = handlers.found([a_module(monkeypatch, ends=ends)])
    begun = tx.begin()
    with pytest.raises(ConfigurationError, match="must not end the transaction"):
        work(handlers.subscriber("stock", found), tx, a_message())
    assert begun.is_active
    assert not [name for name in vars(tx) if name == end], "afterwards it is an ordinary connection again"
    tx.commit()


def no_annotation(tx, placed): ...


def another_third(tx: Connection, placed: OrderPlaced, more: int) -> Done: ...


def one_parameter(tx: Connection) -> Done: ...


def a_dictionary(tx: Connection, placed: dict) -> Done: ...


async def on_asyncio(tx: Connection, placed: OrderPlaced) -> Done: ...


@pytest.mark.parametrize("function", [no_annotation, another_third, one_parameter, a_dictionary, on_asyncio])
def test_a_function_of_another_shape_is_refused_and_told_which_it_must_have(function) -> None:
    with pytest.raises(ConfigurationError, match=r"`def|write `def`"):
        handler("order.placed", consumer="stock")(function)
    assert not hasattr(function, MARK)


@pytest.mark.parametrize(
    ("event_type", "consumer", "said"),
    [
        ("placed", "stock", "no event type"),
        ("order.placed", "Stock", "names no consumer"),
        ("order.placed", "", "names no consumer"),
        ("payment.captued", "stock", "it is one of payment.accepted"),
    ],
)
def test_names_are_checked_where_they_are_written(event_type, consumer, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        handler(event_type, consumer=consumer)


def test_two_handlers_of_one_type_two_topics_or_none_are_refused(monkeypatch) -> None:
    @handler("order.placed", consumer="stock")
    def twice(tx: Connection, placed: OrderPlaced) -> Done: ...

    @handler("parcel.sent", consumer="stock")
    def another(tx: Connection, placed: OrderPlaced) -> Done: ...

    found = handlers.found([a_module(monkeypatch, reserve=reserve, twice=twice)])
    with pytest.raises(ConfigurationError, match=r"two handlers of order\.placed"):
        handlers.subscriber("stock", found)
    found = handlers.found([a_module(monkeypatch, reserve=reserve, another=another)])
    with pytest.raises(ConfigurationError, match="about order and parcel"):
        handlers.subscriber("stock", found)
    with pytest.raises(ConfigurationError, match="no handler for consumer 'shelf', only for stock"):
        handlers.subscriber("shelf", found)


def test_modules_are_found_in_the_current_folder_and_a_missing_one_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_shop_handlers.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        handlers.found(["own_shop_handlers"])
    with pytest.raises(ConfigurationError, match=r"no module own_shop\.handlers, neither in"):
        handlers.found(["own_shop.handlers"])
    with pytest.raises(ConfigurationError, match="there is no executor in json"):
        executors.found(["json"])
