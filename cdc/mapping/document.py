"""YAML that knows its lines: every complaint about a mapping file says where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

import yaml

from cdc.mapping.errors import MappingError


@dataclass(frozen=True, slots=True)
class Value:
    """One node of the file."""

    path: str
    node: yaml.Node
    line: int

    def fail(self, reason: str) -> NoReturn:
        raise MappingError(reason, self.path, self.line)

    def text(self, what: str) -> str:
        """A scalar as it stands (so that `N` and `no` stay words)."""
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value.strip():
            self.fail(f"{what} must be a name")
        return str(self.node.value)

    def is_text(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def word(self, what: str) -> str:
        """A scalar that may be blank, such as a separator; not nothing."""
        return str(self.node.value) if isinstance(self.node, yaml.ScalarNode) and self.node.value else self.text(what)

    def choice(self, what: str, known: Sequence[str]) -> str:
        word = self.text(what)
        if word not in known:
            self.fail(f"{what} is {' or '.join(known)}, not {word!r}")
        return word

    def scalar(self, what: str) -> str | int | bool | Decimal | None:
        """A value as YAML means it: quoted it is a text."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"{what} must be a text, a number, true, false or null")
        kind, text = self.node.tag.rpartition(":")[2], self.node.value
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return bool(yaml.SafeLoader.bool_values[text.lower()])
                case "int":
                    return int(text)
                case "float":
                    return Decimal(text)
        except (ValueError, ArithmeticError):
            self.fail(f"{what}: {text} is not a plain number; quote it if it is a text")
        return str(text)

    def items(self, what: str) -> list[Value]:
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"{what} must be a list")
        return [_value(self.path, node) for node in self.node.value]

    def names(self, what: str) -> tuple[str, ...]:
        """One name or a list of names."""
        if self.is_text():
            return (self.text(what),)
        names = tuple(item.text(what) for item in self.items(what))
        if not names:
            self.fail(f"{what} must not be empty")
        return names

    def table(self, what: str) -> dict[str, Value]:
        """A mapping, with repeated keys refused."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"{what} must be a mapping of names to values")
        found: dict[str, Value] = {}
        for key_node, value_node in self.node.value:
            key = _value(self.path, key_node)
            name = key.text(f"a key of {what}")
            if name in found:
                key.fail(f"{name!r} stands twice in {what}")
            found[name] = Value(self.path, value_node, key.line)
        return found

    def section(self, what: str, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Value]:
        """A mapping with exactly these keys."""
        found = self.table(what)
        known = [*required, *optional]
        for name, value in found.items():
            if name not in known:
                value.fail(f"unknown key {name!r} in {what}: it takes {', '.join(known)}")
        for name in required:
            if name not in found:
                self.fail(f"{what} lacks {name!r}")
        return found


def read(path: Path) -> Value:
    """The root of the file. Raises: MappingError."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"cannot be read: {error}", str(path)) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise MappingError(f"is not YAML: {error.problem}", str(path), line) from error
    except yaml.YAMLError as error:
        raise MappingError(f"is not YAML: {error}", str(path)) from error
    if root is None:
        raise MappingError("is empty", str(path))
    return _value(str(path), root)


def _value(path: str, node: yaml.Node) -> Value:
    return Value(path, node, node.start_mark.line + 1)
