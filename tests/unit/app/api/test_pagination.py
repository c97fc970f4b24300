"""Cursors: what goes in comes out, and nothing else is one."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paidonce.app.api.pagination import decode, encode, page
from paidonce.app.api.problems import InvalidParameterError


@given(st.uuids())
def test_there_and_back(last):
    assert decode(encode(last)) == last


@given(st.text(max_size=64))
def test_nothing_else_is_a_cursor(text):
    try:
        last = decode(text)
    except InvalidParameterError:
        return
    assert last is not None
    assert encode(last) == text


def test_a_cursor_with_another_end_is_refused():
    cursor = encode(UUID(int=0))
    assert cursor[-1] == "A"
    for end in "BCDFGH=":
        with pytest.raises(InvalidParameterError):
            decode(cursor[:-1] + end)


@dataclass
class Entry:
    id: UUID


@pytest.mark.parametrize(("found", "shown", "more"), [(0, 0, False), (2, 2, False), (3, 2, True)])
def test_one_more_than_the_page_means_another(found, shown, more):
    entries = [Entry(uuid4()) for _ in range(found)]
    told = page(entries, 2, lambda entry: {"id": entry.id})
    assert [each["id"] for each in told["data"]] == [entry.id for entry in entries[:shown]]
    assert told["next_cursor"] == (encode(entries[1].id) if more else None)
