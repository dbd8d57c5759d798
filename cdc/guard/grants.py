"""What roles may do in a database that holds a side (docs/architecture.md §2): the engine's two, and who rehearses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc.guard.triggers import quoted

APPLIER, CONTROL = "banyan_cdc", "banyan_ctl"

# Both read everything of schema banyan; the applier keeps its streams' state there, and never touches ownership.
STATE = """
GRANT USAGE ON SCHEMA banyan TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO {role}
"""
APPLIER_STATE = """
GRANT INSERT, UPDATE, DELETE ON
    banyan.stream, banyan.fence_applied, banyan.parked, banyan.foreign_write, banyan.verified, banyan.drift,
    banyan.shape, banyan.halt, banyan.ddl TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO {role};
GRANT EXECUTE ON FUNCTION banyan.assert_owned(text, text, text) TO {role}
"""
CONTROL_FUNCTIONS = """
GRANT EXECUTE ON FUNCTION banyan.fence(text, integer, bigint, integer) TO {role};
GRANT EXECUTE ON FUNCTION banyan.set_owner(text, integer, text, bigint, bigint) TO {role}
"""
# The sequences that belong to the tables: a switch looks whether the two sides' ranges could meet.
SEQUENCES = """
SELECT c.oid::regclass::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
 WHERE d.classid = 'pg_class'::regclass AND d.refobjid = ANY (%s::regclass[]) AND d.deptype IN ('a', 'i')
"""
# Who may write the tables now: it may try what it could do anyway while this side owns them.
WRITERS = """
SELECT DISTINCT w.role::regrole::text, w.role = 0
  FROM pg_class c, LATERAL (
        SELECT c.relowner UNION
        SELECT a.grantee FROM aclexplode(c.relacl) a WHERE a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')) w(role)
 WHERE c.oid = ANY (%s::regclass[]) ORDER BY 1
"""
# And see who owns what: the epoch is the fencing token of what a service sends on.
REHEARSE = """
GRANT USAGE ON SCHEMA banyan TO {role};
GRANT EXECUTE ON FUNCTION banyan.rehearse() TO {role};
GRANT SELECT ON banyan.ownership TO {role}
"""


def grant(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Raises psycopg's InsufficientPrivilege unless the installer owns what it grants."""
    names = [quoted(table) for table in tables]
    for role, is_public in connection.execute(WRITERS, (names,)).fetchall():
        # A role's name as regrole is quoted already.
        connection.execute(sql.SQL(REHEARSE).format(role=sql.SQL("PUBLIC" if is_public else role)))
    for role in (APPLIER, CONTROL):
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            continue
        to = sql.Identifier(role)
        rights = "SELECT, INSERT, UPDATE, DELETE" if role == APPLIER else "SELECT"
        connection.execute(sql.SQL(STATE).format(role=to))
        connection.execute(sql.SQL(APPLIER_STATE if role == APPLIER else CONTROL_FUNCTIONS).format(role=to))
        for schema in sorted({table.split(".")[0] for table in tables}):
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), to))
        _on(connection, rights, "TABLE", names, to)
        _on(connection, "SELECT", "SEQUENCE", [row[0] for row in connection.execute(SEQUENCES, (names,))], to)


def _on(connection: psycopg.Connection[Any], rights: str, kind: str, names: list[str], to: sql.Identifier) -> None:
    if names:
        what = f"GRANT {rights} ON {kind} {', '.join(names)} TO "  # names are quoted already
        connection.execute(sql.SQL(what) + to)
