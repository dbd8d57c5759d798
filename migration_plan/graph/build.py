"""Puts the picture together of schema and code: who belongs where, and what crosses. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from migration_plan.graph import homes as placing
from migration_plan.graph.catalog import Catalog, Routine
from migration_plan.graph.code import File
from migration_plan.graph.model import Edge, Graph, Kind, Part
from migration_plan.graph.statements import Names, Touch, is_sql, touches
from migration_plan.plan import Domain

Found = tuple[str, Kind, str, bool, str]
"""Who touches which table, by what kind of thing, whether it writes, and the evidence."""


def build(
    catalog: Catalog,
    mapped: Mapping[str, str],
    domains: Mapping[str, Domain],
    files: Sequence[File] = (),
    code: str | None = None,
) -> Graph:
    """`mapped`: the monolith's table → the domain that takes it along. `code`: the name of the folder of `files`."""
    names = Names(catalog.tables)
    of_file = placing.of_files(files, domains)
    of_table = placing.of_tables(catalog.tables, mapped, files, of_file)
    found: list[Found] = [*_in_schema(catalog, names, of_table), *_in_code(files, names, of_file, code or "")]
    merged: dict[tuple[str, Kind, str], tuple[bool, dict[str, None]]] = {}
    for source, kind, table, writes, evidence in found:
        if source != of_table[table]:
            known, seen = merged.get((source, kind, table), (False, {}))
            merged[source, kind, table] = (known or writes, {**seen, evidence: None})
    edges = [
        Edge(source, of_table[table], kind, table, writes, list(seen))
        for (source, kind, table), (writes, seen) in merged.items()
    ]
    parts = dict.fromkeys([*domains, *sorted({*of_table.values(), *(edge.source for edge in edges)})])
    tables: dict[str, list[str]] = {name: [] for name in parts}
    for table, home in of_table.items():
        tables[home].append(table)
    return Graph(
        [Part(name, tables[name], name in domains) for name in parts],
        sorted(edges, key=lambda edge: (edge.target, edge.source, edge.kind, edge.table)),
        code,
    )


def _in_schema(catalog: Catalog, names: Names, of_table: Mapping[str, str]) -> Iterator[Found]:
    for reference in catalog.references:
        evidence = f"constraint {reference.name} of {reference.table}: {reference.definition}"
        yield of_table[reference.table], "foreign key", reference.to, False, evidence
    routines = {routine.name: routine for routine in catalog.routines}
    called = {name for routine in catalog.routines for name in _calls(routine, routines)}
    for routine in catalog.routines:
        reached = list(_reached(routine, routines, names))
        for trigger in routine.triggers:
            home = of_table[trigger.rpartition(" on ")[2]]
            for touch, through in reached:
                via = "" if through == routine.name else f", through {through}()"
                yield home, "trigger", touch.table, touch.writes, f"trigger {trigger}{via}"
        if not routine.triggers and routine.name not in called and reached:
            home = _most([touch.table for touch, _ in reached], of_table)
            for touch, _ in reached:
                yield home, "function", touch.table, touch.writes, f"function {routine.name}()"
    for view in catalog.views:
        seen = list(touches(view.text, names))
        home = _most([touch.table for touch in seen], of_table) if seen else ""
        for touch in seen:
            yield home, "view", touch.table, False, f"view {view.name}"


def _reached(routine: Routine, routines: Mapping[str, Routine], names: Names) -> Iterator[tuple[Touch, str]]:
    """What a function touches, itself or through those that it calls, with the function that does it."""
    waiting, seen = [routine], {routine.name}
    while waiting:
        now = waiting.pop()
        for touch in touches(now.text, names):
            yield touch, now.name
        for name in _calls(now, routines):
            if name not in seen:
                seen.add(name)
                waiting.append(routines[name])


def _calls(routine: Routine, routines: Mapping[str, Routine]) -> set[str]:
    words = set(re.findall(r"\b([a-z_]\w*)\s*\(", routine.text, re.IGNORECASE))
    return {name for name in routines if name in words and name != routine.name}


def _most(tables: Sequence[str], of_table: Mapping[str, str]) -> str:
    counted = Counter(of_table[table] for table in tables)
    return min(counted, key=lambda name: (-counted[name], name))


def _in_code(files: Sequence[File], names: Names, of_file: Mapping[str, str], code: str) -> Iterator[Found]:
    declared = {name: table for file in files for name, table in file.declares.items()}
    for file in files:
        place = f"{code}/{file.path}" if code else file.path
        for text in file.texts:
            if not is_sql(text.text):
                continue
            seen = list(touches(text.text, names))
            together = {touch.table for touch in seen}
            for touch in seen:
                others = ", ".join(sorted(table.partition(".")[2] for table in together - {touch.table}))
                joined = f" (with {others})" if others else ""
                line = text.line + text.text.count("\n", 0, touch.at)
                yield of_file[file.path], "query", touch.table, touch.writes, f"{place}:{line}{joined}"
        for name, line in file.uses.items():
            if name in declared and (table := names.find(declared[name])) is not None:
                yield of_file[file.path], "query", table, False, f"{place}:{line} ({name})"
