"""As whom does each process of ours log in to PostgreSQL? As one that has the rights of its role, and no other."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from sqlalchemy import Engine

from paidonce.app.settings import Settings
from paidonce.devstack.members import Member
from paidonce.migrations import rights

#: What `paidonce` is told to run -> the role whose rights that needs.
ROLES: Mapping[str, str] = {
    "api": rights.API,
    "relay": rights.RELAY,
    "consumer": rights.CONSUMER,
    "effects": rights.EFFECTS,
    "cleaner": rights.CLEANER,
}


class Logins:
    """A login of each role, with passwords that are drawn here."""

    def __init__(self) -> None:
        #: name -> password
        self.users = {_login(role): secrets.token_urlsafe(18) for role in ROLES.values()}

    def make(self, bind: Engine) -> None:
        """Let them log in, once the roles are there."""
        with bind.begin() as tx:
            for role in ROLES.values():
                password = self.users[_login(role)]
                tx.exec_driver_sql(f"CREATE ROLE {_login(role)} LOGIN PASSWORD '{password}' IN ROLE {role}")

    def of(self, member: Member, settings: Settings) -> Member:
        """Return `member` as one that logs in by its role."""
        login = _login(ROLES[member.arguments[0]])
        given = {"PAIDONCE_DSN": settings.dsn, "PAIDONCE_DSN_DIRECT": settings.dsn_direct}
        own = {name: self.led(dsn.get_secret_value(), login) for name, dsn in given.items() if dsn}
        return replace(member, env=member.env | own)

    def led(self, dsn: str, login: str) -> str:
        """Return the DSN with another login in it."""
        parts = urlsplit(dsn)
        hosts = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{login}:{self.users[login]}@{hosts}").geturl()


def _login(role: str) -> str:
    return f"{role}_login"
