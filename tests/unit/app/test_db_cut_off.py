"""What is known after a connection ended without a word of the server's? Nothing, and the same may be run again."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import InternalError, OperationalError

from paidonce.app import db
from paidonce.app.errors import CommitUnknownError

#: What psycopg says when PgBouncer tells, unasked, that the server has crashed.
TWO_RESULTS = psycopg.InternalError("received 2 results from command 'COMMIT'")
GONE = psycopg.OperationalError("the connection is lost")


@pytest.mark.parametrize("cause", [TWO_RESULTS, GONE, psycopg.InterfaceError("the connection is closed")])
def test_a_connection_that_is_gone_is_tried_again(cause: psycopg.Error) -> None:
    assert db.is_transient(cause)
    assert not db.was_refused(cause)


def test_what_the_server_itself_says_is_broken_is_not() -> None:
    assert not db.is_transient(psycopg.errors.DataCorrupted("XX001"))
    assert not db.is_transient(psycopg.DataError("text fields cannot contain NUL"))


@pytest.mark.parametrize("error", [InternalError("", {}, TWO_RESULTS), OperationalError("", {}, GONE)])
def test_a_commit_whose_answer_is_none_is_unknown(error: Exception) -> None:
    def commit() -> None:
        raise error

    bind: Any = SimpleNamespace(connect=lambda: nullcontext(SimpleNamespace(commit=commit)))
    with pytest.raises(CommitUnknownError), db.begin(bind):
        pass
