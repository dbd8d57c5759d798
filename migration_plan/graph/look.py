"""Reads schema and code of the plan's monolith and puts the picture together. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdc import mapping as mappings
from migration_plan.context import Context
from migration_plan.errors import PlanInvalid
from migration_plan.graph import catalog, code
from migration_plan.graph.build import build
from migration_plan.graph.code import File
from migration_plan.graph.model import Graph


def look(context: Context, source: Path | None = None) -> Graph:
    """`source`: the monolith's code; without it what the plan names, if that is here.

    Raises: PlanError, Unreachable, NotConfigured.
    """
    plan = context.plan
    files: Sequence[File] = ()
    folder = source or (plan.legacy_source if plan.legacy_source and plan.legacy_source.is_dir() else None)
    if folder is not None:
        files = code.read(folder, plan.legacy_ignore)
    with context.control(next(iter(plan.domains)), "legacy") as connection:
        schema = catalog.read(connection)
    return build(schema, mapped(context), plan.domains, files, folder.resolve().name if folder and files else None)


def mapped(context: Context) -> dict[str, str]:
    """The monolith's table → the domain that takes it along. Raises: PlanInvalid."""
    found = {}
    for domain in context.plan.domains:
        try:
            mapping = mappings.load(context.plan.mapping_path(domain))
        except mappings.MappingError as error:
            raise PlanInvalid([str(error)]) from error
        found.update({table.table("legacy"): domain for table in mapping.own("legacy")})
    return found
