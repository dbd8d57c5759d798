"""The law as a query: the database carries rows there and back and says whether each is what it was, and Python reads
no value. Where it finds one that is not, or the mapping has no SQL, Python looks (law.py) and names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc.mapping import law, projection, zones
from cdc.mapping.plan import Side
from cdc.mapping.projection import Projected
from cdc.mapping.sqltypes import types_of
from cdc.mapping.table import TableMapping

ALIKE = """
(SELECT num_nulls({image}) >= 0 {alike}
   FROM (SELECT {there} FROM (SELECT t.*) AS t) AS image,
        LATERAL (SELECT {back} FROM (SELECT image.*) AS t) AS back)
"""
ALIKE_ONE_WAY = "(SELECT num_nulls({image}) >= 0 FROM (SELECT {there} FROM (SELECT t.*) AS t) AS image)"


def alike(
    connection: psycopg.Connection[Any], other: psycopg.Connection[Any], table: TableMapping, side: Side
) -> sql.Composable | None:
    """True for a row of `side` (alias `t`) that survives; of reference data, that can be carried. It fails with a data
    error for a row that cannot. None where only Python can tell.
    """
    if table.part is not None or zones.disagreement(connection, table) is not None:
        return None
    types = types_of(*((connection, other) if side == "legacy" else (other, connection)), table)
    _, back = law.plans(table, side)
    there = _expressions(projection.forward(table, *types) if side == "legacy" else projection.reverse(table, *types))
    if there is None:
        return None
    image = sql.SQL(", ").join(sql.Identifier("image", name) for name in there)
    if back is None:
        return sql.SQL(ALIKE_ONE_WAY).format(image=image, there=_named(there))
    found = _expressions(projection.reverse(table, *types) if side == "legacy" else projection.forward(table, *types))
    if found is None or not set(back.columns) <= found.keys():
        return None
    same = [sql.SQL("AND back.{0} IS NOT DISTINCT FROM t.{0}").format(sql.Identifier(name)) for name in back.columns]
    returned = {name: found[name] for name in back.columns}
    return sql.SQL(ALIKE).format(image=image, alike=sql.SQL(" ").join(same), there=_named(there), back=_named(returned))


def _expressions(projected: Sequence[Projected]) -> dict[str, sql.Composable] | None:
    found = {one.column: one.expression for one in projected if one.expression is not None}
    return found if found and len(found) == len(projected) else None


def _named(expressions: dict[str, sql.Composable]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(expression, sql.Identifier(name)) for name, expression in expressions.items()
    )
