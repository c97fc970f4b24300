"""How does a database get its roles? `paidonce migrate --roles`; later migrations keep their rights up to date.

The roles are groups without a login, of the whole server; a login gets one by `GRANT paidonce_api TO …`. What is there
already is left alone, so a second run changes nothing (docs/roles.md).
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from paidonce.app.db import sqlstate
from paidonce.app.errors import ConfigurationError
from paidonce.migrations import rights
from paidonce.migrations.rights import CLEANER, PARTITIONS, ROLES

#: Shows since when a foreign transaction is open; without it every one that is open holds every day back.
STATISTICS = "pg_read_all_stats"

PRESENT = "SELECT rolname FROM pg_roles WHERE rolname = ANY (:names)"
MEMBER = "SELECT pg_has_role(CAST(CAST(:who AS regrole) AS oid), CAST(:of AS name), 'MEMBER')"
REACHES = "SELECT has_schema_privilege(CAST(:role AS name), current_schema(), :right)"
WHO = "SELECT current_user, current_schema()"
#: The tables with days, and the days: those that are loose, too.
OTHERS_OWN = r"""
    SELECT relname FROM pg_class
     WHERE relkind IN ('r', 'p') AND relname ~ '^(outbox|inbox)(_\d{8})?$'
       AND relnamespace = CAST(current_schema() AS regnamespace) AND relowner <> CAST(:owner AS regrole)
     ORDER BY relkind DESC, relname
"""
GIVEN = """
    SELECT has_roles.relowner = (SELECT oid FROM pg_roles WHERE rolname = :owner)
      FROM pg_class AS has_roles WHERE has_roles.oid = CAST('outbox' AS regclass)
"""
HELD = """
    SELECT relname, CAST(CAST(grantee AS regrole) AS text), privilege_type
      FROM pg_class CROSS JOIN LATERAL aclexplode(relacl)
     WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind IN ('r', 'p')
       AND relname = ANY (:tables) AND grantee <> relowner
       AND grantee IN (SELECT oid FROM pg_roles WHERE rolname = ANY (:roles))
"""

#: SQLSTATEs: somebody else made it meanwhile, in another database of this server.
MADE_MEANWHILE = frozenset({"42710", "23505"})
NOT_ALLOWED = "42501"


def are_given(tx: Connection) -> bool:
    """Tell whether this database was given roles."""
    return bool(tx.scalar(text(GIVEN), {"owner": PARTITIONS}))


def give(tx: Connection) -> None:
    """Make what is missing: roles, memberships, the owner of the days, rights; and take what is too much.

    Raises:
        ConfigurationError: the role that migrates may not; says what a superuser runs once.
    """
    who, schema = (_quoted(tx, name) for name in tx.execute(text(WHO)).one())
    try:
        with tx.begin_nested():
            _give(tx, who, schema)
    except DBAPIError as error:
        if sqlstate(error) != NOT_ALLOWED:
            raise
        why = str(error.orig).splitlines()[0]
        raise ConfigurationError(
            f"{who} may not give this database its roles ({why}): let a superuser run once, in this database: "
            + "; ".join(by_a_superuser(tx, who, schema))
        ) from error


def by_a_superuser(tx: Connection, who: str, schema: str) -> list[str]:
    """Return what is missing before `who` may give the rest, as statements."""
    return [
        *(f"CREATE ROLE {role} NOLOGIN" for role in _missing(tx)),
        f"GRANT {PARTITIONS} TO {CLEANER}, {who}",
        f"GRANT {STATISTICS} TO {CLEANER}",
        f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(ROLES)}",
        f"GRANT CREATE ON SCHEMA {schema} TO {PARTITIONS}",
    ]


def _give(tx: Connection, who: str, schema: str) -> None:
    for role in _missing(tx):
        _unless_made_meanwhile(tx, f"CREATE ROLE {role} NOLOGIN")
    for of, member in ((PARTITIONS, who), (PARTITIONS, CLEANER), (STATISTICS, CLEANER)):
        if not tx.scalar(text(MEMBER), {"who": member, "of": of}):
            _unless_made_meanwhile(tx, f"GRANT {of} TO {member}")
    for role, right in [*((role, "USAGE") for role in ROLES), (PARTITIONS, "CREATE")]:
        if not tx.scalar(text(REACHES), {"role": role, "right": right}):
            tx.execute(text(f"GRANT {right} ON SCHEMA {schema} TO {role}"))
    for table in tx.scalars(text(OTHERS_OWN), {"owner": PARTITIONS}).all():
        tx.execute(text(f"ALTER TABLE {table} OWNER TO {PARTITIONS}"))
    _set_rights(tx)


def _missing(tx: Connection) -> list[str]:
    present = set(tx.scalars(text(PRESENT), {"names": list(ROLES)}))
    return [role for role in ROLES if role not in present]


def _set_rights(tx: Connection) -> None:
    asked = {"roles": list(ROLES), "tables": list(rights.RIGHTS)}
    held = {(table, role, privilege) for table, role, privilege in tx.execute(text(HELD), asked)}
    wanted = rights.wanted()
    for table, role, privilege in sorted(held - wanted):
        tx.execute(text(f"REVOKE {privilege} ON {table} FROM {role}"))
    for table, role, privilege in sorted(wanted - held):
        tx.execute(text(f"GRANT {privilege} ON {table} TO {role}"))
    for (table, role), columns in rights.COLUMNS.items():
        tx.execute(text(f"GRANT SELECT ({', '.join(columns)}) ON {table} TO {role}"))


def _unless_made_meanwhile(tx: Connection, statement: str) -> None:
    try:
        with tx.begin_nested():
            tx.execute(text(statement))
    except DBAPIError as error:
        if sqlstate(error) not in MADE_MEANWHILE:
            raise


def _quoted(tx: Connection, name: str) -> str:
    return tx.dialect.identifier_preparer.quote(name)
