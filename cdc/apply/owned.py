"""Who owns what a fill or a replay is about to overwrite: both pass the guard by their origin, so they ask first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psycopg

from cdc.apply.route import Route
from cdc.change import Change, Direction
from cdc.errors import NotPrepared, TargetOwns


def require_source_owns(
    target: psycopg.Connection[Any], domain: str, direction: Direction, bucket_key: str | None = None
) -> None:
    """The stream's source owns every wave of the domain, or the one of this bucket key, until the transaction ends.

    Inside the caller's transaction: the rows of banyan.ownership stay locked, so no switch crosses before its end. A
    target without guard, or whose guard does not know the domain, owns nothing.

    Raises: TargetOwns, NotPrepared.
    """
    row = target.execute("SELECT to_regclass('banyan.ownership') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return
    side = "legacy" if direction == "forward" else "service"
    try:
        target.execute("SELECT banyan.assert_owned(%s, %s, %s)", [domain, side, bucket_key])
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege) as e:
        raise NotPrepared(f"the target's guard is of an older version: run `banyan prepare {domain}` again") from e
    except psycopg.Error as e:
        if e.sqlstate != "BN421":
            raise
        raise TargetOwns(str(e.diag.message_primary)) from e


def bucket_key(route: Route, changes: Iterable[Change]) -> str | None:
    """The bucket key of these changes of one row, as the guard writes it; None when they do not say."""
    column = route.mapping.bucket_key("legacy" if route.direction == "forward" else "service")
    for change in changes:
        for row in (change.after, change.before):
            value = row.get(column) if row is not None and column is not None else None
            if isinstance(value, (str, UUID)) or (isinstance(value, int) and not isinstance(value, bool)):
                return str(value)
    return None
