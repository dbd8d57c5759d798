"""Looks at both databases' tables as they are now: against what was accepted, and what the mapping needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import structlog

from cdc.apply.route import Routes
from cdc.errors import SchemaChanged
from cdc.schema import store
from cdc.schema.judge import Policy, differences, source_problems, stopping, target_problems
from cdc.schema.sentry import policy_of
from cdc.schema.shape import Shape, read

log = structlog.get_logger("cdc.schema")


def source_shapes(source: psycopg.Connection[Any], routes: Routes, publication: str) -> dict[str, Shape]:
    """By the source's table; those that are missing are left out."""
    found = {name: read(source, name, publication) for name in routes.by_source}
    return {name: shape for name, shape in found.items() if shape is not None}


def target_shapes(target: psycopg.Connection[Any], routes: Routes) -> dict[str, Shape]:
    """By the target's table."""
    found = {route.target: read(target, route.target) for route in routes.every()}
    return {name: shape for name, shape in found.items() if shape is not None}


def problems(routes: Routes, source: Mapping[str, Shape], target: Mapping[str, Shape]) -> list[str]:
    """Why mapping and schemas do not fit."""
    return [
        problem
        for route in routes.every()
        for problem in (
            *source_problems(route, source.get(route.source)),
            *target_problems(route, target.get(route.target)),
        )
    ]


def lost_tables(source: psycopg.Connection[Any], routes: Routes, publication: str) -> str | None:
    """Tables whose changes do not come any more, which pgoutput tells nobody: dropped, or not published."""
    row = source.execute(
        "SELECT string_agg(t, ', ' ORDER BY t) FROM unnest(%s::text[]) t WHERE NOT EXISTS ("
        " SELECT FROM pg_publication_tables p WHERE p.pubname = %s AND p.schemaname || '.' || p.tablename = t)",
        [list(routes.by_source), publication],
    ).fetchone()
    return row[0] if row is not None else None


def require_target(
    target: psycopg.Connection[Any],
    stream: str,
    routes: Routes,
    accepted: Mapping[str, Shape],
    policies: Mapping[str, Policy],
) -> None:
    """The target's tables are as they were accepted, or have changed in a way that the plan lets pass.

    What passes is accepted from now on. Raises: SchemaChanged.
    """
    with target.transaction():
        # First settled, then looked at: a change that commits in between stays open, and is judged next time.
        store.settle(target, stream)
        found = target_shapes(target, routes)
        for route in routes.every():
            now, before = found.get(route.target), accepted.get(route.target)
            if now is not None and now == before:
                continue
            wrong = target_problems(route, now)
            changes = differences(before, now) if before is not None else ()
            stops = stopping(changes, "target", route.columns, policy_of(policies, route))
            if stops or wrong:
                words = "; ".join([*(difference.words for difference in stops), *wrong])
                raise SchemaChanged(f"{route.target}: {words}", side="target", table=route.target)
            if changes:
                words = "; ".join(difference.words for difference in changes)
                log.info("schema change passes", stream=stream, table=route.target, changes=words)
        store.accept(target, stream, "target", found)
