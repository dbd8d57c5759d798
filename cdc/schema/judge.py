"""What changed between two shapes of a table, in words, and whether a stream may go on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from cdc.apply.route import Route
from cdc.schema.shape import Column, Shape

Side = Literal["source", "target"]
Policy = Literal["stop", "expand"]
Kind = Literal["table", "added", "dropped", "renamed", "retyped", "nullable", "identity", "unique", "published"]


class Difference(msgspec.Struct, frozen=True):
    """`words`: for people, such as `column note dropped`. `column`: of an added one."""

    kind: Kind
    words: str
    column: Column | None = None


def differences(before: Shape | None, after: Shape | None, *, told: bool = True) -> tuple[Difference, ...]:
    """`told` is false when `after` is what pgoutput describes, which knows of no NOT NULL, unique key and the like.

    Both None: no difference.
    """
    if before is None or after is None:
        if before is after:
            return ()
        return (Difference("table", "table dropped" if after is None else "table created"),)
    found: list[Difference] = []
    if before.table != after.table:
        found.append(Difference("table", f"table renamed to {after.table}"))
    elif before.id != after.id:
        found.append(Difference("table", "another table has the name now"))
    found += _columns(before, after, told)
    if before.identity != after.identity:
        found.append(Difference("identity", f"replica identity {_named(before)} → {_named(after)}"))
    elif before.key != after.key and not (not told and sorted(before.key) == sorted(after.key)):
        was, now = ", ".join(before.key) or "nothing", ", ".join(after.key) or "nothing"
        found.append(Difference("identity", f"replica identity's columns {was} → {now}"))
    if told and before.unique != after.unique:
        gone = [f"({', '.join(key)})" for key in before.unique if key not in after.unique]
        new = [f"({', '.join(key)})" for key in after.unique if key not in before.unique]
        words = [*(f"unique key on {key} dropped" for key in gone), *(f"unique key on {key} added" for key in new)]
        found.append(Difference("unique", "; ".join(words)))
    if told and before.published != after.published:
        found.append(
            Difference("published", "table " + ("added to" if after.published else "taken out of") + " the publication")
        )
    return tuple(found)


def _columns(before: Shape, after: Shape, told: bool) -> list[Difference]:
    found: list[Difference] = []
    numbers = {column.number: column for column in after.columns if column.number}
    kept: set[str] = set()
    for old in before.columns:
        new = after.column(old.name)
        if new is None and old.number and (moved := numbers.get(old.number)) is not None:
            found.append(Difference("renamed", f"column {old.name} renamed to {moved.name}"))
            new = moved
        if new is None:
            found.append(Difference("dropped", f"column {old.name} dropped"))
            continue
        kept.add(new.name)
        if (old.oid, old.modifier) != (new.oid, new.modifier):
            found.append(Difference("retyped", f"type of column {new.name} {old.type} → {new.type}"))
        if told and old.not_null != new.not_null:
            found.append(
                Difference("nullable", f"column {new.name} {'NOT NULL now' if new.not_null else 'may be NULL now'}")
            )
    for new in after.columns:
        if new.name not in kept:
            more = ", NOT NULL without a default" if new.required else ""
            found.append(Difference("added", f"column {new.name} ({new.type}{more}) added", new))
    return found


def _named(shape: Shape) -> str:
    return {"d": "DEFAULT", "f": "FULL", "n": "NOTHING", "i": "INDEX"}.get(shape.identity, shape.identity)


def stopping(
    found: Iterable[Difference], side: Side, mapped: Collection[str], policy: Policy
) -> tuple[Difference, ...]:
    """Those that a stream may not pass: all, or under `expand` all but new columns that nobody needs to fill.

    A unique key more, or less than the one that upserts go by, does not touch what a stream carries: `fits` sees to it.
    """
    return tuple(d for d in found if d.kind != "unique" and not (policy == "expand" and _expands(d, side, mapped)))


def _expands(difference: Difference, side: Side, mapped: Collection[str]) -> bool:
    column = difference.column
    if difference.kind != "added" or column is None or column.name in mapped:
        return False
    return side == "source" or not column.required


def source_problems(route: Route, source: Shape | None) -> list[str]:
    """Why rows of this shape cannot be carried by the mapping."""
    if source is None:
        return [f"{route.source} does not exist at the source"]
    found: list[str] = []
    if missing := sorted(route.source_columns - {column.name for column in source.columns}):
        found.append(f"{route.source} has no {', '.join(missing)}, which the mapping names")
    if source.identity == "n" or (source.identity != "f" and not set(route.source_key) <= set(source.key)):
        key = ", ".join(route.source_key)
        found.append(f"the replica identity of {route.source} does not cover the mapping's key ({key})")
    if not source.published:
        found.append(f"{route.source} is not in the publication: run prepare")
    return found


def target_problems(route: Route, target: Shape | None) -> list[str]:
    """Why rows that the mapping makes cannot be written to this shape."""
    if target is None:
        return [f"{route.target} does not exist at the target"]
    found: list[str] = []
    if missing := [name for name in route.columns if target.column(name) is None]:
        found.append(f"{route.target} has no {', '.join(missing)}, which the mapping names")
    given = {*route.columns, *(name for name, value in route.fills.items() if value is not None)}
    asked = [column.name for column in target.columns if column.required and column.name not in given]
    if asked and route.makes:
        found.append(
            f"{route.target} demands {', '.join(asked)} (NOT NULL, no default), which the mapping does not fill"
        )
    if tuple(sorted(route.key)) not in {tuple(sorted(key)) for key in target.unique}:
        found.append(f"{route.target} has no unique key on ({', '.join(route.key)})")
    return found
