"""The guard's triggers on one table: which ones it needs, and bringing it there with as few locks as possible."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from cdc.guard.errors import GuardError

LONGEST_KEY = 63 - len("guard_by_")  # PostgreSQL would cut the function's name, and two could become one
ROWS = files("cdc.guard").joinpath("guard_rows.sql").read_text("utf-8")
DRAWS = files("cdc.guard").joinpath("guard_draw.sql").read_text("utf-8")
DRAW = "banyan_draw"

ONE_WAVE = {
    "banyan_guard": "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION banyan.guard({args})",
}
WAVES = {
    "banyan_guard_delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION {rows}({args})",
    "banyan_guard_insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION {rows}({args})",
    "banyan_guard_key": "AFTER UPDATE ON {table} FOR EACH ROW WHEN (OLD.{key} IS DISTINCT FROM NEW.{key}"
    " AND banyan.bucket(OLD.{key}::text) IS DISTINCT FROM banyan.bucket(NEW.{key}::text))"
    " EXECUTE FUNCTION banyan.guard_key({args})",
    "banyan_guard_truncate": "BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION banyan.guard({args})",
    "banyan_guard_update": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION {rows}({args})",
}

TABLE = """
SELECT c.relkind, EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid OR i.inhrelid = c.oid),
       (SELECT a.attnotnull FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %(key)s AND NOT a.attisdropped)
  FROM pg_class c WHERE c.oid = to_regclass(%(table)s)
"""
PRESENT = """
SELECT tgname, tgenabled = 'A', tgargs FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname ^@ 'banyan_guard'
"""


def require_guardable(connection: psycopg.Connection[Any], table: str, key: str | None, several: bool) -> None:
    """Raises: GuardError for a table whose rows could be written past its triggers, or that has no key to go by."""
    found = connection.execute(TABLE, {"table": quoted(table), "key": key or ""}).fetchone()
    if found is None:
        raise GuardError(f"table {table} does not exist: run the schema's migrations first")
    kind, inherits, key_not_null = found
    if kind != "r" or inherits:
        raise GuardError(f"{table} is not a plain table: writes to a partition or a child would pass its guard")
    if several and key is None:
        raise GuardError(f"{table} has several waves but no bucket_key in its mapping")
    if several and key_not_null is None:
        raise GuardError(f"{table} has no column {key}, which its mapping names as bucket_key")
    if several and len(str(key).encode()) > LONGEST_KEY:
        raise GuardError(f"{table}.{key}: a bucket key's name may have {LONGEST_KEY} bytes at most")
    if several and not key_not_null:
        raise GuardError(f"{table}.{key} is its bucket key and may be NULL: make it NOT NULL")


def ensure(connection: psycopg.Connection[Any], table: str, arguments: tuple[str, str, str], several: bool) -> None:
    """Give the table exactly the guard's triggers; one that has them already is not locked."""
    wanted = WAVES if several else ONE_WAVE
    if several:
        connection.execute(sql.SQL(ROWS).format(function=rows_function(arguments[2]), key=sql.Identifier(arguments[2])))
    stored = b"".join(argument.encode() + b"\0" for argument in arguments)
    rows = connection.execute(PRESENT, (quoted(table),)).fetchall()
    if {name: enabled and args == stored for name, enabled, args in rows} == dict.fromkeys(wanted, True):
        return
    remove(connection, table)
    names = {"table": sql.SQL(quoted(table)), "key": sql.Identifier(arguments[2])}
    names["args"] = sql.SQL(", ").join(map(sql.Literal, arguments))
    names["rows"] = rows_function(arguments[2])
    for trigger, definition in wanted.items():
        body = sql.SQL(definition).format(**names)
        connection.execute(sql.SQL("CREATE TRIGGER {} ").format(sql.Identifier(trigger)) + body)
        keep(connection, table, trigger)


def draw(connection: psycopg.Connection[Any], table: str, arguments: tuple[str, str, str], several: bool) -> None:
    """Where a domain has several waves, ids that the table's sequence gives are of this side's waves (guard_draw.sql).

    Applied rows bring their ids: the trigger does not fire for them.
    """
    key = arguments[2]
    sequence = "SELECT pg_get_serial_sequence(%s, %s)"
    row = connection.execute(sequence, (quoted(table), key)).fetchone() if several else None
    wanted = b"".join(a.encode() + b"\0" for a in (*arguments, row[0])) if row is not None and row[0] else None
    known = connection.execute(
        "SELECT tgargs FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = %s", (quoted(table), DRAW)
    ).fetchone()
    if wanted is not None:
        function, column = sql.Identifier("banyan", f"draw_by_{key}"), sql.Identifier(key)
        connection.execute(sql.SQL(DRAWS).format(function=function, key=column))
    if wanted == (known[0] if known else None):
        return
    if known:
        connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(DRAW), _identifier(table)))
    if wanted is not None and row is not None:
        connection.execute(
            sql.SQL("CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}({})").format(
                sql.Identifier(DRAW),
                _identifier(table),
                function,
                sql.SQL(", ").join(map(sql.Literal, (*arguments, row[0]))),
            )
        )


def keep(connection: psycopg.Connection[Any], table: str, trigger: str) -> None:
    """Let the trigger fire under session_replication_role = replica too. Raises: GuardError."""
    state = connection.execute(
        "SELECT tgenabled = 'A' FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname = %s",
        (quoted(table), trigger),
    ).fetchone()
    if state is None:
        raise GuardError(f"{table} has no trigger {trigger}, which keep_triggers names")
    if not state[0]:
        connection.execute(
            sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(_identifier(table), sql.Identifier(trigger))
        )


def remove(connection: psycopg.Connection[Any], table: str) -> None:
    for trigger, _, _ in connection.execute(PRESENT, (quoted(table),)).fetchall():
        connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), _identifier(table)))


def remove_draw(connection: psycopg.Connection[Any], table: str) -> None:
    connection.execute(sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(DRAW), _identifier(table)))


def rows_function(key: str) -> sql.Identifier:
    """The trigger function that checks by this key column (guard_rows.sql)."""
    return sql.Identifier("banyan", f"guard_by_{key}")


def quoted(table: str) -> str:
    """`schema.table` as SQL writes it."""
    return _identifier(table).as_string(None)


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))
