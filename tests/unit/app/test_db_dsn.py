"""Is a DSN read the same way by psycopg and by SQLAlchemy, several hosts included, and does it bound every silence?"""

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from paidonce.app import db
from paidonce.app.settings import Settings

SILENCE = {**db.SILENCE}


def read_by_both(dsn: str) -> dict[str, str]:
    settings = Settings(dsn=dsn)
    by_psycopg = {name: str(value) for name, value in conninfo_to_dict(db.libpq_dsn(settings)).items()}
    _, arguments = PGDialect_psycopg().create_connect_args(db.sqlalchemy_url(settings))
    by_sqlalchemy = {name: str(value) for name, value in arguments.items() if name != "context"}
    assert by_sqlalchemy == by_psycopg
    return by_psycopg


@pytest.mark.parametrize(
    ("dsn", "read"),
    [
        ("postgresql://me@h/d", {"user": "me", "host": "h", "dbname": "d"}),
        ("postgresql://me:p%40s@h:1/d", {"user": "me", "password": "p@s", "host": "h", "port": "1", "dbname": "d"}),
        (
            "postgresql://me@one:1,two:2/d?target_session_attrs=read-write",
            {"user": "me", "host": "one,two", "port": "1,2", "dbname": "d", "target_session_attrs": "read-write"},
        ),
        ("postgresql://me@one,two:2/d", {"user": "me", "host": "one,two", "port": ",2", "dbname": "d"}),
        ("postgresql://me@[::1]:1,[::2]:2/d", {"user": "me", "host": "::1,::2", "port": "1,2", "dbname": "d"}),
        ("postgresql:///d?host=/run/pg", {"host": "/run/pg", "dbname": "d"}),
    ],
)
def test_hosts_ports_and_names_are_the_same_to_both(dsn: str, read: dict[str, str]) -> None:
    assert read_by_both(dsn) == {**SILENCE, **read}


def test_what_the_dsn_says_itself_goes_first() -> None:
    assert read_by_both("postgresql://h/d?connect_timeout=9")["connect_timeout"] == "9"


def test_a_password_is_not_shown() -> None:
    assert "hidden" not in str(db.sqlalchemy_url(Settings(dsn="postgresql://me:hidden@h/d")))
