"""To which part a table and a file of the code belong: the plan says it of domains, folders of the rest. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from migration_plan.graph.code import File
from migration_plan.graph.model import REST
from migration_plan.graph.statements import Names
from migration_plan.plan import Domain

_PARAMETER = re.compile(r"<[^>]*>|\{[^}]*\}")


def of_files(files: Sequence[File], domains: Mapping[str, Domain]) -> dict[str, str]:
    """1. what the plan's `code` names; 2. who serves a domain's routes; 3. who shares a folder with such files, and
    with no other domain's; 4. the rest is named by its folder, or its own name."""
    served = {_template(op.path): name for name, domain in domains.items() for op in domain.operations}
    homes: dict[str, str] = {}
    for file in files:
        named = [n for n, domain in domains.items() if any(fnmatchcase(file.path, glob) for glob in domain.code)]
        counted = Counter(served[path] for route in file.routes if (path := _template(route)) in served)
        if named or counted:
            homes[file.path] = named[0] if named else counted.most_common(1)[0][0]
    claimed = {name for name in homes if not any(fnmatchcase(name, g) for d in domains.values() for g in d.code)}
    folders: dict[str, set[str]] = {}
    for path in claimed:
        folders.setdefault(_folder(path), set()).add(homes[path])
    for file in files:
        folder = _folder(file.path)
        shared = folders.get(folder, set()) if folder != file.path else set()
        homes.setdefault(file.path, next(iter(shared)) if len(shared) == 1 else folder)
    return homes


def of_tables(
    tables: Sequence[str], mapped: Mapping[str, str], files: Sequence[File], homes: Mapping[str, str]
) -> dict[str, str]:
    """`mapped`: table → domain, by the mappings."""
    names = Names(tables)
    declared = {
        table: homes[file.path]
        for file in files
        for written in file.declares.values()
        if (table := names.find(written)) is not None
    }
    return {table: mapped.get(table) or declared.get(table, REST) for table in tables}


def _folder(path: str) -> str:
    return PurePosixPath(path).parts[0]


def _template(path: str) -> str:
    return _PARAMETER.sub("{}", path).rstrip("/") or "/"
