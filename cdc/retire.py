"""Takes apart what a domain that leaves for good needs no more: streams, publications, the monolith's tables' names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc import tables
from cdc.apply.route import DomainMapping, routes
from cdc.apply.session import end_sessions
from cdc.apply.statements import table_name
from cdc.config import Stream
from cdc.errors import Transient, first_line
from cdc.mapping import Mapping
from cdc.prepare import drop
from cdc.retired import remaining
from cdc.schema import watch

SUFFIX = "_retired"
LONGEST = 63  # bytes of a PostgreSQL name


def end_streams(
    forward: Stream, reverse: Stream, mapping: Mapping, capture: tuple[str, str], owner: tuple[str, str]
) -> None:
    """After `mark`. `capture` and `owner`: DSNs of the monolith's and the service's database. Raises: Transient."""
    left = remaining(mapping)
    over = [(reverse, (1, 0))] if left.tables else [(reverse, (1, 0)), (forward, (0, 1))]
    for stream, (source, target) in over:
        for dsn in capture:
            end_sessions(dsn, f"banyan-cdc {stream.name}", "a database")
        drop(stream, owner[source], owner[target])
    if left.tables:
        _carry(forward, left, owner[0])
        for dsn in capture:
            end_sessions(dsn, f"banyan-cdc {forward.name}", "a database")


def _carry(forward: Stream, left: DomainMapping, owner_dsn: str) -> None:
    """The publication loses the retired tables. What is watched first: this change is no surprise."""
    to = routes(left, "forward")
    with psycopg.connect(owner_dsn, autocommit=True, connect_timeout=5) as source:
        if watch.installed(source):
            watch.watch(source, forward.name, "source", to.by_source, forward.publication)
        tables.publish(source, forward.publication, to.by_source.values())


def rename(connection: psycopg.Connection[Any], names: Sequence[str], lock_timeout_ms: int) -> list[str]:
    """All of the tables or none: `public.thing` becomes `public.thing_retired`; those that have that name by now are
    left. Returns the new names. Raises: Transient when somebody holds a table for longer than `lock_timeout_ms`."""
    done = []
    try:
        with connection.transaction():
            give_up = time.monotonic() + lock_timeout_ms / 1000  # for all of them: the first are locked meanwhile
            for name in names:
                left_ms = max(1, int((give_up - time.monotonic()) * 1000))
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{left_ms}ms"])
                there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
                if there is None or not there[0]:
                    continue
                schema, _, bare = name.partition(".")
                new = bare.encode()[: LONGEST - len(SUFFIX)].decode(errors="ignore") + SUFFIX
                statement = sql.SQL("ALTER TABLE {} RENAME TO {}")
                connection.execute(statement.format(table_name(name), sql.Identifier(new)))
                done.append(f"{schema}.{new}")
    except psycopg.errors.LockNotAvailable as error:
        raise Transient(f"a table is busy: {first_line(error)}") from error
    return done
