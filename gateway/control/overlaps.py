"""Operations that some request could mean both of: which have an order, and which make a table unusable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Protocol, TypeVar

from gateway.routing.conditions import Condition, exclude_each_other, includes

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2: what a header's or a cookie's name may be
MOST_CONDITIONS = 8
MOST_TEXT = 200


class Routed(Protocol):
    """What an operation of a table and one of a plan have in common."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def when(self) -> Sequence[Condition]: ...


T = TypeVar("T")


def clashes(operations: Iterable[T], routed: Callable[[T], Routed]) -> Iterator[tuple[T, T, str]]:
    """Every pair without an order, and why. Only paths of one method and length can meet."""
    groups: dict[tuple[str, int], list[T]] = {}
    for operation in operations:
        found = routed(operation)
        groups.setdefault((found.method, found.path.count("/")), []).append(operation)
    for group in groups.values():
        for one, other in combinations(group, 2):
            if why := _clash(routed(one), routed(other)):
                yield one, other, why


def _clash(one: Routed, other: Routed) -> str | None:
    if not ambiguous(one.path, other.path) or exclude_each_other(one.when, other.when):
        return None
    if not one.when and not other.when:
        return "overlap"
    if shape(one.path) != shape(other.path):
        return "overlap: neither path is the more specific one"
    if includes(one.when, other.when) == includes(other.when, one.when):
        return "overlap: the conditions of neither include the other's"
    return None


def of_conditions(when: Sequence[Condition]) -> Iterator[str]:
    """What is wrong with one operation's conditions."""
    if len(when) > MOST_CONDITIONS:
        yield f"{len(when)} conditions are more than {MOST_CONDITIONS}"
    for condition in when:
        kind, _, name = condition.source.partition(":")
        if kind not in ("header", "query") or not name or (kind == "header" and not TOKEN.fullmatch(name)):
            yield f"condition source {condition.source!r} is not header: or query: with a name"
        given = [value for value in (condition.exact, condition.prefix, condition.present) if value is not None]
        if len(given) != 1:
            yield f"condition on {condition.source!r} needs one of exact, prefix and present"
        if any(isinstance(value, str) and not 0 < len(value) <= MOST_TEXT for value in given):
            yield f"condition on {condition.source!r}: a text has 1 to {MOST_TEXT} characters"
    if any(exclude_each_other([one], [other]) for one, other in combinations(when, 2)):
        yield "no request can meet all of its conditions"


def segments(path: str) -> list[str]:
    """`/a/{id}/b` → ['a', '{id}', 'b']; the root is ['']."""
    return path.split("/")[1:]


def shape(path: str) -> list[str]:
    return ["{}" if segment.startswith("{") else segment for segment in segments(path)]


def ambiguous(a: str, b: str) -> bool:
    """Some path matches both templates and neither is the more specific one throughout.

    `/x/{id}` and `/x/new` are not ambiguous (the literal wins); `/{a}/y` and `/x/{b}` are, and so are equal shapes.
    """
    left, right = segments(a), segments(b)
    if len(left) != len(right):
        return False
    a_wins = b_wins = False
    for one, other in zip(left, right, strict=True):
        one_open, other_open = one.startswith("{"), other.startswith("{")
        if not one_open and not other_open and one != other:
            return False
        a_wins |= other_open and not one_open
        b_wins |= one_open and not other_open
    return a_wins == b_wins
