"""Which tables a piece of SQL touches. No parser: names where SQL has tables, if there is such a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NAME = r'"?[a-z_][\w$]*"?(?:\s*\.\s*"?[a-z_][\w$]*"?)?'
_PLACE = re.compile(
    r"\b(?P<how>insert\s+into|merge\s+into|delete\s+from|truncate(?:\s+table)?|update|copy|lock\s+table"
    rf"|from|join|using|references)\s+(?:only\s+|lateral\s+)?(?P<name>{_NAME})",
    re.IGNORECASE,
)
# `FROM a x, b y`
_NEXT = re.compile(
    rf"\s*(?:(?:as\s+)?(?!where\b|on\b|set\b)[a-z_]\w*\s*)?,\s*(?:only\s+)?(?P<name>{_NAME})", re.IGNORECASE
)
_ROWTYPE = re.compile(rf"\b(?P<name>{_NAME})\s*%\s*rowtype", re.IGNORECASE)
_WRITES = ("insert", "merge", "delete", "truncate", "update", "copy")
_NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_SQL = re.compile(r"\s*(?:select|insert|update|delete|with|merge|truncate|lock|copy|create|alter)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Touch:
    """`at`: where in the text."""

    table: str
    writes: bool
    at: int


class Names:
    """Known tables, by `schema.name` and, where that is only one, by `name`."""

    def __init__(self, tables: Sequence[str]) -> None:
        self._full = set(tables)
        bare: dict[str, list[str]] = {}
        for table in tables:
            bare.setdefault(table.partition(".")[2], []).append(table)
        self._bare = {name: found[0] for name, found in bare.items() if len(found) == 1}

    def find(self, written: str) -> str | None:
        name = re.sub(r"\s", "", written).replace('"', "").lower()
        if name in self._full:
            return name
        return self._bare.get(name) if "." not in name else None


def is_sql(text: str) -> bool:
    return _SQL.match(text) is not None


def touches(text: str, names: Names) -> Iterator[Touch]:
    """In the order of the text; a table may come more than once."""
    plain = _NOISE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for place in _PLACE.finditer(plain):
        how = place["how"].split()[0].lower()
        if (table := names.find(place["name"])) is not None:
            yield Touch(table, how in _WRITES, place.start("name"))
        after = _NEXT.match(plain, place.end()) if how in ("from", "using") else None
        while after is not None:
            if (table := names.find(after["name"])) is not None:
                yield Touch(table, False, after.start("name"))
            after = _NEXT.match(plain, after.end())
    for place in _ROWTYPE.finditer(plain):
        if (table := names.find(place["name"])) is not None:
            yield Touch(table, False, place.start("name"))
