"""Reads a YAML file and remembers on which line and column every value stands, so that an error can point at it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from migration_plan.errors import PlanInvalid

T = TypeVar("T")
Place = tuple[int, int]

MAX_BYTES = 1_000_000
_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<where>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")


class Document:
    """A parsed YAML file: plain values in `data`, and `at(path)` for paths such as `domains.pricing.waves[0]`."""

    def __init__(self, path: Path, data: Any, places: dict[str, Place]) -> None:
        self.path = path
        self.data = data
        self._places = places

    def at(self, path: str) -> Place:
        """Line and column, from 1, of `path`, or of the nearest thing around it that stands in the file."""
        while path not in self._places and path:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._places.get(path, (1, 1))

    def line(self, path: str) -> int:
        return self.at(path)[0]

    def problem(self, path: str, what: str) -> str:
        line, column = self.at(path)
        return f"{self.path}:{line}:{column}: {what}"

    def convert(self, value: Any, type_: type[T], path: str, problems: list[str]) -> T | None:
        """`value` as `type_`; a mismatch is noted in `problems` with its line."""
        try:
            return msgspec.convert(value, type_, strict=True)
        except msgspec.ValidationError as error:
            problems.append(self._explain(str(error), type_, path))
            return None

    def _explain(self, message: str, type_: type[Any], path: str) -> str:
        match = _MESSAGE.match(message)
        what, where = (match["what"], match["where"] or "") if match else (message, "")
        place = path + where
        if unknown := _UNKNOWN.search(what):
            known = ", ".join(_known_fields(type_, where))
            return self.problem(
                f"{place}.{unknown['name']}", f"unknown key {unknown['name']!r} in {place}; known keys: {known}"
            )
        if missing := _MISSING.search(what):
            return self.problem(place, f"{place} lacks the key {missing['name']!r}")
        return self.problem(place, f"{place}: {what[0].lower()}{what[1:]}")


def _known_fields(type_: type[Any], where: str) -> list[str]:
    """The keys of the struct that a msgspec path leads to."""
    info: Any = msgspec.inspect.type_info(type_)
    for part in re.findall(r"\.(\w+)|\[", where):
        info = _step(info, part)
    return [field.encode_name for field in getattr(info, "fields", ())]


def _step(info: Any, name: str) -> Any:
    if not name:
        return getattr(info, "item_type", None)
    found = next((field.type for field in getattr(info, "fields", ()) if field.encode_name == name), None)
    options = getattr(found, "types", None)
    return next((option for option in options if hasattr(option, "fields")), found) if options else found


def read(path: Path) -> Document:
    """Parse `path`.

    Raises: PlanInvalid when it is missing, too large, not YAML, or names a key twice.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PlanInvalid(
            [f"{path}: {error.strerror or error}; name the plan's file, or set BANYAN_PLAN to it"]
        ) from error
    if len(text) > MAX_BYTES:
        raise PlanInvalid([f"{path}: {len(text)} bytes, but a plan has at most {MAX_BYTES}"])
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise PlanInvalid([f"{path}:{_said(mark)}: not YAML: {getattr(error, 'problem', None) or error}"]) from error
    problems: list[str] = []
    places: dict[str, Place] = {}
    data = _plain(root, "", places, problems, path) if root is not None else {}
    if problems:
        raise PlanInvalid(problems)
    return Document(path, data, places)


def _place(mark: Any) -> Place:
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _said(mark: Any) -> str:
    return "{}:{}".format(*_place(mark))


def _plain(node: yaml.Node, path: str, places: dict[str, Place], problems: list[str], file: Path) -> Any:
    places.setdefault(path, _place(node.start_mark))
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = str(key_node.value)
            inner = f"{path}.{name}" if path else name
            if name in values:
                first, here = places[inner][0], _said(key_node.start_mark)
                problems.append(f"{file}:{here}: {inner} stands here a second time (first on line {first}); keep one")
            places.setdefault(inner, _place(key_node.start_mark))
            values[name] = _plain(value_node, inner, places, problems, file)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{path}[{number}]", places, problems, file) for number, item in enumerate(node.value)]
    return _SCALARS.construct_object(node)


_SCALARS: Any = yaml.SafeLoader("")
