"""The monolith's code, read and never run: its routes, its SQL, the tables that its classes stand for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from migration_plan.errors import PlanError

_METHODS = frozenset({"get", "post", "put", "patch", "delete", "head", "route"})
MOST_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Text:
    """A text that may be SQL, with the line on which it begins."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class File:
    """`declares`: class → table (`__tablename__`); `uses`: names of other modules' classes → first line."""

    path: str
    routes: tuple[str, ...] = ()
    texts: tuple[Text, ...] = ()
    declares: dict[str, str] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)


def read(folder: Path, ignore: Sequence[str] = ()) -> list[File]:
    """Every .py and .sql file. Raises: PlanError when there is no such folder, or a file in it cannot be read as code:
    nobody would know what it touches.
    """
    if not folder.is_dir():
        raise PlanError(f"no folder {folder}: say where the monolith's code is with --source, or correct legacy.source")
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in (".py", ".sql") or any(fnmatchcase(name, pattern) for pattern in ignore):
            continue
        if not path.is_file():
            continue
        if path.stat().st_size > MOST_BYTES:
            raise PlanError(f"{path} is larger than {MOST_BYTES} bytes: add it to legacy.ignore if it touches no table")
        text = path.read_text(errors="replace")
        try:
            found.append(_python(name, text) if path.suffix == ".py" else File(name, texts=(Text(text, 1),)))
        except (SyntaxError, ValueError) as error:
            why = f"{path} is no Python ({error}): add it to legacy.ignore if it touches no table"
            raise PlanError(why) from error
    return found


def _python(name: str, text: str) -> File:
    tree = ast.parse(text)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return File(name, tuple(_routes(tree)), tuple(_texts(tree)), _declared(classes), _used(tree))


def _routes(tree: ast.AST) -> Iterator[str]:
    """`@blueprint.get("/api/things")`, in Flask's, FastAPI's and Litestar's way."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in node.decorator_list:
            if not isinstance(call, ast.Call) or not call.args:
                continue
            called, first = call.func, call.args[0]
            verb = (
                called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
            )
            if verb in _METHODS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _texts(tree: ast.AST) -> Iterator[Text]:
    """Literals, and f-strings with what they insert left out; no docstrings, no parts of f-strings."""
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            passed.update(id(part) for part in node.values)
            parts = [str(v.value) if isinstance(v, ast.Constant) else " ? " for v in node.values]
            yield Text("".join(parts), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield Text(node.value, node.lineno)


def _declared(classes: Sequence[ast.ClassDef]) -> dict[str, str]:
    return {
        node.name: str(line.value.value)
        for node in classes
        for line in node.body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and any(isinstance(to, ast.Name) and to.id == "__tablename__" for to in line.targets)
    }


def _used(tree: ast.AST) -> dict[str, int]:
    """Imported names that the code works with, not only hands on."""
    imported = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in imported:
            line = found.get(imported[node.id], node.lineno)
            found[imported[node.id]] = min(line, node.lineno)
    return found
