"""A table's mapping as one SQL expression for each target column, where it has such a form."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.route import Route
from cdc.mapping import TableMapping, projection
from cdc.mapping.sqltypes import types_of


def expressions(
    source: psycopg.Connection[Any], target: psycopg.Connection[Any], route: Route
) -> list[sql.Composable] | None:
    """Over the source table as `t`, in the order of `route.columns`. None: only Python can tell every column."""
    table = route.mapping
    if not isinstance(table, TableMapping):
        return None
    ahead = route.direction == "forward"
    legacy, service = types_of(source, target, table) if ahead else types_of(target, source, table)
    found = projection.forward(table, legacy, service) if ahead else projection.reverse(table, legacy, service)
    by_column = {item.column: item.expression for item in found}
    wanted = [by_column.get(column) for column in route.columns]
    return None if None in wanted else [expression for expression in wanted if expression is not None]
