"""What may be the name of an effect of one's own, and which executors a module has: all refused before any table."""

import sys
from types import ModuleType

import pytest

from paidonce import effects
from paidonce.app.errors import ConfigurationError
from paidonce.app.yours import executors


@pytest.mark.parametrize("kind", ["charge", "webhook", "Receipt", "", "a b"])
def test_a_kind_of_another_name_is_refused(kind) -> None:
    with pytest.raises(ConfigurationError, match=r"effects? of kind|kind of effect"):
        effects.enqueue(None, kind, "o-1", b"{}")  # type: ignore[arg-type]  # it is never asked
    with pytest.raises(ConfigurationError, match=r"effects? of kind|kind of effect"):
        effects.executor(kind)


@pytest.mark.parametrize("key", ["", "o\0"])
def test_an_effect_has_a_name(key) -> None:
    with pytest.raises(ConfigurationError, match="needs a key"):
        effects.enqueue(None, "receipt", key, b"{}")  # type: ignore[arg-type]  # it is never asked


def made() -> effects.Executor:
    @effects.executor("receipt")
    async def send(effect: effects.Effect) -> effects.Answer:
        return effects.Succeeded({"of": effect.subject})

    return send


def test_executors_are_found_by_module_and_two_of_a_kind_are_refused(monkeypatch) -> None:
    one, other = made(), made()
    module = ModuleType("a_shop_that_writes")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(one=one, again=one)
    assert executors.found([module.__name__]) == [one]
    vars(module).update(other=other)
    with pytest.raises(ConfigurationError, match="two executors of one kind"):
        executors.found([module.__name__])
