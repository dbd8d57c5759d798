"""What a source change asks of the target: upsert, patch, move, delete, blank, clear. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cdc.apply.route import Route, Routes
from cdc.change import Change, Row
from cdc.errors import SchemaChanged
from cdc.mapping.errors import ConversionError

Kind = Literal["upsert", "patch", "move", "delete", "blank", "clear"]


class Operation(msgspec.Struct, frozen=True):
    """One row's worth of work; `key` is the target's.

    An upsert has all columns; a patch only those that are known (unchanged TOAST is left alone); a move is a patch of
    the row that so far has `old_key`; a clear empties the table. Of a part a patch fills the wide row, which must be
    there, and a blank undoes that where it is.
    """

    kind: Kind
    route: Route
    change: Change
    key: tuple[Any, ...] = ()
    row: Row = {}
    old_key: tuple[Any, ...] = ()


def split(change: Change, route: Route) -> list[Change]:
    """A changed key is a delete and an insert, so that both keys keep their own order.

    With an unknown (unchanged TOAST) column an insert is impossible: such a change stays one and becomes a move.
    """
    if change.op != "u" or change.before is None or change.after is None:
        return [change]
    before, after = change.before, change.after
    if all(name not in before or before[name] == after.get(name) for name in route.source_key):
        return [change]
    if not route.source_columns <= after.keys():
        return [change]
    replace = msgspec.structs.replace
    return [replace(change, op="d", after=None), replace(change, op="c", before=None)]


def operation(change: Change, route: Route) -> Operation:
    """Of a change as `split` left it. Raises: SchemaChanged, ConversionError."""
    after, before = change.after, change.before
    if after is None:
        return _without_row(change, route)
    if route.lacks_row(after):
        return _delete(change, route, after)
    row = route.translate(after)
    key = route.target_key(row)
    if len(row) < route.width and (torn := route.torn(after)):
        raise ConversionError(
            f"{route.source}: of {', '.join(torn)} only some came (unchanged TOAST), and they make sense together only:"
            f" ALTER TABLE {route.source} REPLICA IDENTITY FULL, then write the row again"
        )
    if (
        before is not None
        and change.op == "u"
        and any(n in before and before[n] != after.get(n) for n in route.source_key)
    ):
        if not route.makes:
            raise ConversionError(f"{route.source}: a part that is not wholly known (unchanged TOAST) changed its key")
        old_key = route.target_key(route.translate({n: before[n] for n in route.source_key}))
        return Operation("move", route, change, key, row, old_key)
    if len(row) == route.width:
        return Operation("upsert" if route.makes else "patch", route, change, key, row)
    _require_known_absence(change, route)
    return Operation("patch", route, change, key, row)


def _without_row(change: Change, route: Route) -> Operation:
    if change.op == "t":
        return Operation("clear", route, change)
    assert change.before is not None
    return _delete(change, route, change.before)


def _delete(change: Change, route: Route, row: Row) -> Operation:
    key = route.target_key(route.translate({name: row[name] for name in route.source_key}))
    return Operation("delete" if route.makes else "blank", route, change, key)


def _require_known_absence(change: Change, route: Route) -> None:
    """A column may be absent because its TOASTed value did not change, never because the table lost it."""
    assert change.relation is not None
    lost = route.source_columns - {column.name for column in change.relation.columns}
    if lost or change.op != "u":
        names = ", ".join(sorted(lost or route.source_columns - (change.after or {}).keys()))
        raise SchemaChanged(
            f"{route.source} no longer has {names}, which the mapping needs: change the mapping, then restart"
        )


def mapped(change: Change, routes: Routes) -> list[tuple[Change, Route]]:
    """The change, split where its key changed, with its routes; nothing for a table that is not mapped."""
    found = routes.of(change)
    if change.before is None or change.op != "u":
        return [(change, route) for route in found]
    return [(part, route) for route in found for part in split(change, route)]
