"""Reads a mapping file (docs/mapping.md), strictly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from cdc.mapping import document
from cdc.mapping.columns import rules_of
from cdc.mapping.document import Value
from cdc.mapping.parts import require_owners, wide_absent
from cdc.mapping.plan import Rule, Side
from cdc.mapping.table import DomainMapping, Part, TableMapping, build

TABLE = re.compile(r"[^.\s]+\.[^.\s]+")
TRIGGER = re.compile(r"([^.\s]+\.[^.\s]+)\.[^.\s]+")
REQUIRED, OPTIONAL = ["legacy", "service", "key", "columns"], ["bucket_key", "direction", "part", "rows"]


def load(path: str | Path) -> DomainMapping:
    """Raises: MappingError, with the line, for whatever is unknown, missing, repeated or contradictory."""
    root = document.read(Path(path))
    found = root.section("the mapping", ["domain", "tables"], ["keep_triggers"])
    items = found["tables"].items("tables")
    tables = tuple(_table(item) for item in items)
    if not tables:
        found["tables"].fail("tables must not be empty")
    require_owners(items, tables)
    keep = found["keep_triggers"].items("keep_triggers") if "keep_triggers" in found else []
    return DomainMapping(found["domain"].text("domain"), tables, tuple(_trigger(item, tables) for item in keep))


def _table(item: Value) -> TableMapping:
    found = item.section("a table", REQUIRED, OPTIONAL)
    legacy, service = _table_name(found["legacy"]), _table_name(found["service"])
    direction = found["direction"].choice("direction", ("both", "forward")) if "direction" in found else "both"
    kind: Literal["both", "forward"] = "both" if direction == "both" else "forward"
    rules = rules_of(found["columns"], legacy, service, kind)
    copies = {
        pair
        for rule in rules
        if rule.converter is None and rule.direction == "both" and not rule.constant
        for pair in zip(rule.legacy, rule.service, strict=True)
    }
    key = found["key"].section("key", ["legacy", "service"])
    keys = key["legacy"].names("key"), key["service"].names("key")
    if len(keys[0]) != len(keys[1]) or not copies.issuperset(zip(*keys, strict=True)):
        found["key"].fail("a row keeps its key: the key's columns must be mapped one to one, without a converter")
    bucket_key: tuple[str | None, str | None] = (None, None)
    if "bucket_key" in found:
        pair = found["bucket_key"].section("bucket_key", ["legacy", "service"])
        names = (pair["legacy"].text("bucket_key"), pair["service"].text("bucket_key"))
        if names not in copies:
            found["bucket_key"].fail("the bucket must be the same on both sides: map its column without a converter")
        bucket_key = names
    part = _part(found, rules, keys)
    return build(legacy, service, kind, keys, bucket_key, rules, part)


def _part(
    found: dict[str, Value], rules: tuple[Rule, ...], keys: tuple[tuple[str, ...], tuple[str, ...]]
) -> Part | None:
    if "part" not in found:
        if "rows" in found:
            found["rows"].fail("rows says when a part has a row: it needs part")
        for rule in rules:
            if rule.absent is not None:
                found["columns"].fail("absent says what a wide row holds without its part: it needs part")
        return None
    side: Side = "legacy" if found["part"].choice("part", ("legacy", "service")) == "legacy" else "service"
    always = "rows" in found and found["rows"].choice("rows", ("some", "always")) == "always"
    wide: Side = "legacy" if side == "service" else "service"
    return Part(side, always, wide_absent(found["columns"], rules, wide, keys[0] if wide == "legacy" else keys[1]))


def _table_name(value: Value) -> str:
    name = value.text("a table")
    if not TABLE.fullmatch(name):
        value.fail(f"{name!r} is not schema.table")
    return name


def _trigger(value: Value, tables: tuple[TableMapping, ...]) -> str:
    name = value.text("a trigger")
    match = TRIGGER.fullmatch(name)
    if match is None or not any(match[1] in (table.legacy, table.service) for table in tables):
        value.fail(f"{name!r} is not schema.table.trigger of a table of this mapping")
    return name
