"""The monolith's schema as its database tells it: tables, foreign keys, triggers, functions, views. Reads only."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg

_USERS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'banyan') AND n.nspname !~ '^pg_(toast|temp)'"
TABLES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {users} ORDER BY 1
"""
REFERENCES = """
SELECT k.conname, n.nspname || '.' || c.relname, m.nspname || '.' || r.relname, pg_get_constraintdef(k.oid)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace m ON m.oid = r.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND {users} ORDER BY 2, 1
"""
# An extension's functions are no part of the application.
ROUTINES = """
SELECT p.proname, coalesce(nullif(p.prosrc, ''), pg_get_functiondef(p.oid)),
       ARRAY(SELECT t.tgname || ' on ' || u.nspname || '.' || c.relname FROM pg_trigger t
               JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace u ON u.oid = c.relnamespace
              WHERE t.tgfoid = p.oid AND NOT t.tgisinternal ORDER BY 1)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
 WHERE l.lanname IN ('sql', 'plpgsql') AND p.prokind IN ('f', 'p') AND {users}
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY 1
"""
VIEWS = """
SELECT n.nspname || '.' || c.relname, pg_get_viewdef(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('v', 'm') AND {users}
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1
"""


class Reference(msgspec.Struct, frozen=True):
    name: str
    table: str
    to: str
    definition: str


class Routine(msgspec.Struct, frozen=True):
    """`triggers`: `NAME on TABLE`, for each that calls it."""

    name: str
    text: str
    triggers: list[str] = []


class View(msgspec.Struct, frozen=True):
    name: str
    text: str


class Catalog(msgspec.Struct, frozen=True):
    """Tables are `schema.name`."""

    tables: list[str]
    references: list[Reference] = []
    routines: list[Routine] = []
    views: list[View] = []


def read(connection: psycopg.Connection[Any]) -> Catalog:
    """Raises: psycopg.Error."""
    return Catalog(
        [row[0] for row in connection.execute(TABLES.replace("{users}", _USERS))],
        [Reference(*row) for row in connection.execute(REFERENCES.replace("{users}", _USERS))],
        [Routine(*row) for row in connection.execute(ROUTINES.replace("{users}", _USERS))],
        [View(*row) for row in connection.execute(VIEWS.replace("{users}", _USERS))],
    )
