"""The columns of one table of a mapping file, as rules."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal

from cdc.mapping import factories
from cdc.mapping.converters import Converter
from cdc.mapping.document import Value
from cdc.mapping.plan import Rule

Way = Literal["both", "forward", "reverse"]


def rules_of(item: Value, legacy: str, service: str, table_direction: Literal["both", "forward"]) -> tuple[Rule, ...]:
    """Each column has one owner: nothing is written by two rules. What is read may be read by several."""
    rules: list[Rule] = []
    written: set[tuple[str, str]] = set()
    for entry in item.items("columns"):
        rule = _rule(entry)
        if rule.direction == "reverse" and table_direction == "forward":
            entry.fail("this table goes forward only, so nothing is written in reverse")
        for side, table, name in _writes(rule, legacy, service):
            if (side, name) in written:
                entry.fail(f"column {name} of {table} is mapped twice")
            written.add((side, name))
        rules.append(rule)
    if not rules:
        item.fail("columns must not be empty")
    return tuple(rules)


def _writes(rule: Rule, legacy: str, service: str) -> Iterator[tuple[str, str, str]]:
    if rule.goes("reverse"):
        yield from (("legacy", legacy, name) for name in rule.legacy)
    if rule.goes("forward"):
        yield from (("service", service, name) for name in rule.service)


def _rule(entry: Value) -> Rule:
    if entry.is_text():
        name = entry.text("a column")
        return Rule((name,), (name,))
    found = entry.table("a column")
    if "value" in found:
        return _constant(entry, found)
    for side in ("legacy", "service"):
        if side not in found:
            entry.fail(f"a column lacks its {side} name")
    legacy, service = found.pop("legacy").names("legacy column"), found.pop("service").names("service column")
    direction, absent, convert = (found.pop(name, None) for name in ("direction", "absent", "convert"))
    way: Way = "both"
    if direction is not None:
        match direction.choice("a column's direction", ("both", "forward", "reverse")):
            case "forward":
                way = "forward"
            case "reverse":
                way = "reverse"
    without = None if absent is None else absent.scalar("absent")
    if convert is None:
        if found:
            next(iter(found.values())).fail(f"unknown key {next(iter(found))!r} in a column without a converter")
        if len(legacy) != len(service):
            entry.fail("several columns on one side need a converter")
        return Rule(legacy, service, None, way, absent=without)
    converter = _converter(convert, found, max(len(legacy), len(service)))
    if (converter.legacy, converter.service) != (len(legacy), len(service)):
        shape = f"{converter.legacy} legacy and {converter.service} service"
        entry.fail(f"converter {convert.text('convert')} takes {shape} columns, not {len(legacy)} and {len(service)}")
    return Rule(legacy, service, converter, way, absent=without)


def _constant(entry: Value, found: dict[str, Value]) -> Rule:
    value = found.pop("value").scalar("value")
    sides = [side for side in ("legacy", "service") if side in found]
    if len(sides) != 1 or len(found) != 1:
        entry.fail("a constant is a column of one side and its value: {service: origin, value: monolith}")
    name = found[sides[0]].text("a column")
    return Rule((name,), (), value=value) if sides == ["legacy"] else Rule((), (name,), value=value)


def _converter(convert: Value, parameters: dict[str, Value], columns: int) -> Converter:
    """A factory that takes `columns` is told how many there are on the side that has several."""
    name = convert.text("convert")
    try:
        factory = factories.find(name)
    except LookupError as error:
        convert.fail(str(error))
    accepted = dict(inspect.signature(factory).parameters)
    given: dict[str, Any] = {"columns": columns} if accepted.pop("columns", None) is not None else {}
    for parameter, value in parameters.items():
        if parameter not in accepted:
            value.fail(f"converter {name} takes {', '.join(accepted) or 'no parameter'}, not {parameter!r}")
        given[parameter] = _plain(value)
    for parameter, details in accepted.items():
        if details.default is inspect.Parameter.empty and parameter not in parameters:
            convert.fail(f"converter {name} needs {parameter!r}")
    try:
        made = factory(**given)
    except (ValueError, TypeError, AttributeError) as error:
        convert.fail(f"converter {name}: {error}")
    if not isinstance(made, Converter):
        convert.fail(f"converter {name} made no Converter")
    return made


def _plain(value: Value) -> Any:
    """A converter's parameter: a word, a list or a mapping of words."""
    if value.is_text():
        return value.word("a parameter")
    if value.is_list():
        return [item.text("a parameter") for item in value.items("a parameter")]
    return {name: word.text("a value") for name, word in value.table("a parameter").items()}
