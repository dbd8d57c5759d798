"""A table to several, several to one: every row and every column has one stated owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from cdc.mapping.document import Value
from cdc.mapping.plan import Rule, Side
from cdc.mapping.table import TableMapping


def wide_absent(columns: Value, rules: Sequence[Rule], wide: Side, key: tuple[str, ...]) -> dict[str, Any]:
    """What each column of the part holds in a wide row without it: its `absent`, else NULL."""
    found: dict[str, Any] = {}
    for rule, entry in zip(rules, columns.items("columns"), strict=True):
        names = rule.columns(wide)
        if rule.absent is not None and len(names) != 1:
            entry.fail("absent is the value of one column of the wide row")
        if rule.direction == "both" and not rule.constant:
            found.update((name, rule.absent) for name in names if name not in key)
    if not found:
        columns.fail("a part has at least one column besides its key that goes both ways")
    return found


def require_owners(items: Sequence[Value], tables: Sequence[TableMapping]) -> None:
    """Of each table one entry makes the rows; the others, which come after it, are its parts and own other columns."""
    for side in get_args(Side):
        makers: dict[str, TableMapping] = {}
        owned: dict[tuple[str, str], str] = {}
        for item, table in zip(items, tables, strict=True):
            name = table.table(side)
            if table.wide == side:
                if name not in makers:
                    item.fail(f"{side} table {name} has no owner of its rows: map it before its parts, without part")
                _require_alike(item, side, makers[name], table)
            elif name in makers:
                item.fail(
                    f"{side} table {name} is mapped twice: say in one of them which side's table is a part of the"
                    " other's row (part: legacy or part: service)"
                )
            else:
                makers[name] = table
            for column in _written(table, side):
                if (other := owned.setdefault((name, column), _other(table, side))) != _other(table, side):
                    item.fail(f"column {column} of {name} is owned by the mapping with {other}: a column has one owner")


def _require_alike(item: Value, side: Side, maker: TableMapping, part: TableMapping) -> None:
    name = part.table(side)
    if set(_key(maker, side)) != set(_key(part, side)):
        item.fail(f"a part has the key of its wide row: {', '.join(_key(maker, side))} of {name}")
    if maker.direction != part.direction:
        item.fail(f"a part goes the way of its wide row: {maker.direction}")
    if maker.bucket_key(side) != part.bucket_key(side):
        item.fail(f"a part is in the bucket of its wide row: {name} has bucket_key {maker.bucket_key(side)}")


def _key(table: TableMapping, side: Side) -> tuple[str, ...]:
    return table.forward.source_key if side == "legacy" else table.forward.key


def _written(table: TableMapping, side: Side) -> tuple[str, ...]:
    """Besides the key, which all of them carry."""
    if table.direction == "forward" and side == "legacy":
        return ()
    columns = table.reverse.columns if side == "legacy" else table.forward.columns
    return tuple(name for name in columns if name not in _key(table, side))


def _other(table: TableMapping, side: Side) -> str:
    return table.service if side == "legacy" else table.legacy
