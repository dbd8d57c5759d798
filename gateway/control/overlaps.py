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
_Placed = tuple[int, list[str]]  # its number, its path's shape


def clashes(operations: Iterable[T], routed: Callable[[T], Routed]) -> Iterator[tuple[T, T, str]]:
    """Every pair without an order, and why."""
    every = list(operations)
    groups: dict[tuple[str, int], list[_Placed]] = {}
    for number, operation in enumerate(every):
        found = routed(operation)
        parts = shape(found.path)
        groups.setdefault((found.method, len(parts)), []).append((number, parts))
    meeting = {pair for group in groups.values() for pair in _meeting(group, 0)}
    for one, other in sorted(meeting):
        if why := _clash(routed(every[one]), routed(every[other])):
            yield every[one], every[other], why


def _meeting(group: list[_Placed], at: int) -> Iterator[tuple[int, int]]:
    """Pairs that some path matches both of; some come twice. A check of every pair would take a big table's time."""
    if len(group) < 2:
        return
    if at == len(group[0][1]):
        yield from combinations((number for number, _ in group), 2)
        return
    literals: dict[str, list[_Placed]] = {}
    opens = [placed for placed in group if placed[1][at] == "{}"]
    for placed in group:
        if placed[1][at] != "{}":
            literals.setdefault(placed[1][at], []).append(placed)
    for same in literals.values():
        yield from _meeting(sorted(same + opens, key=_number) if opens else same, at + 1)
    if len(literals) != 1:
        yield from _meeting(opens, at + 1)


def _number(placed: _Placed) -> int:
    return placed[0]


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
