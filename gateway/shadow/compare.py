"""Do two answers say the same? All their differences, by field. The order of keys does not matter. Pure.

A field is a path with its indices taken off (`$.items[*].price`), `status`, or `header.` and a name. What a large body
costs is given out in slices, so that a comparison never keeps the event loop from the clients.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from gateway.control.comparison import Tolerance
from gateway.shadow.answer import Answer
from gateway.shadow.rules import PLAIN, Rules, segment

Kind = Literal["primitive", "type", "missing", "extra", "order", "length"]
MISSING = "(missing)"
MOST_DIFFERENCES = 200  # of one pair of answers
SLICE = 256  # steps between two moments at which others may go on
LONGEST_FIELD = 200  # characters


@dataclass(frozen=True, slots=True)
class Difference:
    """`missing`: the service lacks it. `extra`: legacy does. Values are as JSON has them."""

    field: str
    kind: Kind
    legacy: Any
    service: Any


def compare(legacy: Answer, service: Answer, rules: Rules = PLAIN) -> list[Difference]:
    """At once, whatever it takes."""
    return [found for found in _walk(legacy, service, rules) if found is not None]


async def compare_in_slices(legacy: Answer, service: Answer, rules: Rules) -> list[Difference]:
    differences = []
    for found in _walk(legacy, service, rules):
        if found is None:
            await asyncio.sleep(0)
        else:
            differences.append(found)
    return differences


def _walk(legacy: Answer, service: Answer, rules: Rules) -> Iterator[Difference | None]:
    """None: a slice is over."""
    found = 0
    for difference in _differences(legacy, service, rules):
        if difference is not None:
            found += 1
        yield difference
        if found >= MOST_DIFFERENCES:
            return


def _differences(legacy: Answer, service: Answer, rules: Rules) -> Iterator[Difference | None]:
    if legacy.status != service.status:
        yield Difference("status", "primitive", legacy.status, service.status)
    if (legacy.body or service.body) and legacy.media_type != service.media_type:
        yield Difference("header.content-type", "primitive", legacy.media_type, service.media_type)
    for name in rules.headers:
        one, other = legacy.header(name), service.header(name)
        if one != other:
            kind: Kind = "missing" if other is None else "extra" if one is None else "primitive"
            yield Difference(f"header.{name.decode()}", kind, _text(one), _text(other))
    if legacy.body == service.body:
        return
    if not (legacy.looks_like_json and service.looks_like_json):
        yield _of_bytes(legacy.body, service.body)
        return
    try:
        one, other = msgspec.json.decode(legacy.body), msgspec.json.decode(service.body)
        same = _canonical(one) == _canonical(other)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        yield _of_bytes(legacy.body, service.body)
        return
    if not same:
        yield None
        yield from _of_values(one, other, rules)


def _text(value: bytes | None) -> str:
    return MISSING if value is None else value.decode("latin-1")


def _of_bytes(one: bytes, other: bytes) -> Difference:
    return Difference("body", "primitive", digest(one), digest(other))


def digest(body: bytes) -> str:
    """What is said of a body that is not JSON: nobody knows which secrets it holds."""
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()[:16]}"


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _of_values(one: Any, other: Any, rules: Rules) -> Iterator[Difference | None]:
    """A stack and no recursion: how deep a body is nested is up to who wrote it."""
    stack: list[tuple[str, Any, Any]] = [("$", one, other)]
    steps = 0
    while stack:
        path, left, right = stack.pop()
        steps += 1
        if not steps % SLICE:
            yield None
        if rules.ignores(path):
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _of_objects(path, left, right, rules, stack)
        elif isinstance(left, list) and isinstance(right, list):
            yield from _of_lists(path, left, right, rules, stack)
        elif (kind := _kind(left, right, rules, path)) is not None:
            yield Difference(path, kind, left, right)


def _of_objects(
    path: str, left: dict[str, Any], right: dict[str, Any], rules: Rules, stack: list[tuple[str, Any, Any]]
) -> Iterator[Difference]:
    for key, value in left.items():
        at = f"{path}.{segment(key)}"[:LONGEST_FIELD]
        if key in right:
            stack.append((at, value, right[key]))
        elif not rules.ignores(at):
            yield Difference(at, "missing", value, MISSING)
    for key, value in right.items():
        if key not in left and not rules.ignores(at := f"{path}.{segment(key)}"[:LONGEST_FIELD]):
            yield Difference(at, "extra", MISSING, value)


def _of_lists(
    path: str, left: list[Any], right: list[Any], rules: Rules, stack: list[tuple[str, Any, Any]]
) -> Iterator[Difference]:
    if left == right and _canonical(left) == _canonical(right):
        return
    inner = f"{path}[*]"[:LONGEST_FIELD]
    key = rules.unordered(path)
    if key is not None:
        yield from _of_bags(inner, left, right, key, stack)
    elif len(left) != len(right):
        yield Difference(path, "length", len(left), len(right))
    elif len(left) > 1 and sorted(map(_canonical, left)) == sorted(map(_canonical, right)):
        yield Difference(path, "order", left, right)
    else:
        stack.extend((inner, a, b) for a, b in zip(left, right, strict=True))


def _of_bags(
    inner: str, left: list[Any], right: list[Any], key: str, stack: list[tuple[str, Any, Any]]
) -> Iterator[Difference]:
    """Elements with the same name are compared; those that only one side has are told."""
    waiting: dict[bytes, list[Any]] = {}
    for value in right:
        waiting.setdefault(_name(value, key), []).append(value)
    for value in left:
        partners = waiting.get(_name(value, key))
        if partners:
            stack.append((inner, value, partners.pop(0)))
        else:
            yield Difference(inner, "missing", value, MISSING)
    for values in waiting.values():
        for value in values:
            yield Difference(inner, "extra", MISSING, value)


def _name(value: Any, key: str) -> bytes:
    return _canonical(value[key] if key and isinstance(value, dict) and key in value else value)


def _kind(left: Any, right: Any, rules: Rules, path: str) -> Kind | None:
    """None: equal. True == 1 in Python, but not in JSON; 1 and 1.0 are one number."""
    if isinstance(left, bool) == isinstance(right, bool) and left == right:
        return None
    tolerance = rules.tolerance(path)
    if tolerance is not None and _near(left, right, tolerance):
        return None
    return "primitive" if _type(left) == _type(right) else "type"


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _near(left: Any, right: Any, tolerance: Tolerance) -> bool:
    """Money travels as a string: one that is a number counts as one."""
    one, other = _number(left), _number(right)
    if one is None or other is None:
        return False
    apart = abs(one - other)
    allowed = max(abs(one), abs(other)) * Decimal(repr(tolerance.relative)) / 100
    return apart <= Decimal(repr(tolerance.absolute)) or apart <= allowed


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 400 else None
