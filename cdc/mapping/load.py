"""Reads a mapping file (docs/architecture.md §8), strictly."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Literal

from cdc.mapping import converters, document
from cdc.mapping.document import Value
from cdc.mapping.table import DomainMapping, Rule, TableMapping, build

TABLE = re.compile(r"[^.\s]+\.[^.\s]+")
TRIGGER = re.compile(r"([^.\s]+\.[^.\s]+)\.[^.\s]+")


def load(path: str | Path) -> DomainMapping:
    """Raises: MappingError, with the line, for whatever is unknown, missing, repeated or contradictory."""
    root = document.read(Path(path))
    found = root.section("the mapping", ["domain", "tables"], ["keep_triggers"])
    tables = tuple(_table(item) for item in found["tables"].items("tables"))
    if not tables:
        found["tables"].fail("tables must not be empty")
    seen: set[str] = set()
    for item, table in zip(found["tables"].items("tables"), tables, strict=True):
        for side, name in (("legacy", table.legacy), ("service", table.service)):
            if f"{side} {name}" in seen:
                item.fail(f"{side} table {name} is mapped twice")
            seen.add(f"{side} {name}")
    keep = found["keep_triggers"].items("keep_triggers") if "keep_triggers" in found else []
    return DomainMapping(found["domain"].text("domain"), tables, tuple(_trigger(item, tables) for item in keep))


def _table(item: Value) -> TableMapping:
    found = item.section("a table", ["legacy", "service", "key", "columns"], ["bucket_key", "direction"])
    legacy, service = _table_name(found["legacy"]), _table_name(found["service"])
    rules = _rules(found["columns"], legacy, service)
    copies = {
        (s, t) for rule in rules if rule.converter is None for s, t in zip(rule.legacy, rule.service, strict=True)
    }
    key = found["key"].section("key", ["legacy", "service"])
    legacy_key, service_key = key["legacy"].names("key"), key["service"].names("key")
    if len(legacy_key) != len(service_key) or not copies.issuperset(zip(legacy_key, service_key, strict=True)):
        found["key"].fail("a row keeps its key: the key's columns must be mapped one to one, without a converter")
    bucket_key: tuple[str | None, str | None] = (None, None)
    if "bucket_key" in found:
        pair = found["bucket_key"].section("bucket_key", ["legacy", "service"])
        names = (pair["legacy"].text("bucket_key"), pair["service"].text("bucket_key"))
        if names not in copies:
            found["bucket_key"].fail("the bucket must be the same on both sides: map its column without a converter")
        bucket_key = names
    direction = found["direction"].text("direction") if "direction" in found else "both"
    if direction not in ("both", "forward"):
        found["direction"].fail(f"direction is both or forward, not {direction!r}")
    kind: Literal["both", "forward"] = "both" if direction == "both" else "forward"
    return build(legacy, service, kind, (legacy_key, service_key), bucket_key, rules)


def _rules(item: Value, legacy: str, service: str) -> tuple[Rule, ...]:
    rules = []
    seen: set[tuple[str, str]] = set()
    for entry in item.items("columns"):
        rule = _rule(entry)
        names = [(legacy, name) for name in rule.legacy] + [(f"{service} ", name) for name in rule.service]
        for table, name in names:
            if (table, name) in seen:
                entry.fail(f"column {name} of {table.strip()} is mapped twice")
            seen.add((table, name))
        rules.append(rule)
    if not rules:
        item.fail("columns must not be empty")
    return tuple(rules)


def _rule(entry: Value) -> Rule:
    if entry.is_text():
        name = entry.text("a column")
        return Rule((name,), (name,))
    found = entry.table("a column")
    for side in ("legacy", "service"):
        if side not in found:
            entry.fail(f"a column lacks its {side} name")
    legacy, service = found.pop("legacy").names("legacy column"), found.pop("service").names("service column")
    convert = found.pop("convert", None)
    if convert is None:
        if found:
            next(iter(found.values())).fail(f"unknown key {next(iter(found))!r} in a column without a converter")
        if len(legacy) != len(service):
            entry.fail("several columns on one side need a converter")
        return Rule(legacy, service)
    converter = _converter(convert, found)
    if (converter.legacy, converter.service) != (len(legacy), len(service)):
        shape = f"{converter.legacy} legacy and {converter.service} service"
        entry.fail(f"converter {convert.text('convert')} takes {shape} columns, not {len(legacy)} and {len(service)}")
    return Rule(legacy, service, converter)


def _converter(convert: Value, parameters: dict[str, Value]) -> converters.Converter:
    name = convert.text("convert")
    try:
        factory = converters.find(name)
    except LookupError as error:
        convert.fail(str(error))
    accepted = inspect.signature(factory).parameters
    for parameter, value in parameters.items():
        if parameter not in accepted:
            value.fail(f"converter {name} takes {', '.join(accepted) or 'no parameter'}, not {parameter!r}")
    for parameter, details in accepted.items():
        if details.default is inspect.Parameter.empty and parameter not in parameters:
            convert.fail(f"converter {name} needs {parameter!r}")
    try:
        made = factory(**{parameter: _plain(value) for parameter, value in parameters.items()})
    except (ValueError, TypeError) as error:
        convert.fail(f"converter {name}: {error}")
    if not isinstance(made, converters.Converter):
        convert.fail(f"converter {name} made no Converter")
    return made


def _plain(value: Value) -> Any:
    """A converter's parameter: a word, or a mapping of words."""
    if value.is_text():
        return value.text("a parameter")
    return {name: word.text("a value") for name, word in value.table("a parameter").items()}


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
