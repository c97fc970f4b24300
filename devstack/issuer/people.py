"""Who may log in, and is this the password? One person a tenant and an operator from the start; passwords are known."""

import secrets
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.auth.policy import OPERATOR
from paidonce.devstack.issuer.clients import OPERATIONS, TENANTS
from paidonce.devstack.issuer.first_people import first_person, operator
from paidonce.devstack.issuer.tables import people

#: argon2id with the library's parameters, which are those of RFC 9106's second choice: 64 MiB, 3 passes, about 50 ms.
HASHER = PasswordHasher()
#: A longer one is not hashed at all; argon2 would take any.
PASSWORD_CHARS_MAX = 256
NAME_CHARS_MAX = 128
#: What the password given for an unknown name is held against: the answer takes as long, and is never yes.
_NOBODY_S = HASHER.hash(secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in."""

    name: str
    tenant: str
    roles: tuple[str, ...]


def put_first(tx: Connection) -> None:
    """Put each tenant's development person in, and the operator, unless the name is taken."""
    people_of = [(first_person(tenant), tenant, ()) for tenant in TENANTS]
    for (name, password), tenant, roles in [*people_of, (operator(), OPERATIONS, (OPERATOR,))]:
        if tx.scalar(select(people.c.name).where(people.c.name == name)) is None:
            put(tx, Person(name, tenant, roles), password)


def put(tx: Connection, person: Person, password: str) -> None:
    """Put a person in, or give one another tenant, password and roles."""
    values = {"tenant": person.tenant, "password_hash": HASHER.hash(password), "roles": list(person.roles)}
    statement = insert(people).values(name=person.name, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=[people.c.name], set_=values))


def find(tx: Connection, name: str) -> tuple[Person, str] | None:
    """Return the person of this name and the hash of the password; None: there is none."""
    row = tx.execute(select(people).where(people.c.name == name)).one_or_none()
    return None if row is None else (Person(row.name, row.tenant, tuple(row.roles)), row.password_hash)


def fits(password_hash: str | None, password: str) -> bool:
    """Tell whether the password belongs to the hash; without one (an unknown name) it takes as long, and is False."""
    try:
        return HASHER.verify(password_hash or _NOBODY_S, password) and password_hash is not None
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
