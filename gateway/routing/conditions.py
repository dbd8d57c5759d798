"""Conditions of an operation on headers and query parameters: how they are tested, and which of two is the narrower.

Of operations with the same method and path the one is tried first whose conditions include the other's. Two that some
request meets both, and neither of which includes the other, have no order: such a table is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from gateway.routing.keys import Head, finder


class Condition(Protocol):
    """One of `exact`, `prefix` and `present` is given."""

    @property
    def source(self) -> str: ...
    @property
    def exact(self) -> str | None: ...
    @property
    def prefix(self) -> str | None: ...
    @property
    def present(self) -> bool | None: ...


Test = Callable[[Head], bool]


def all_met(conditions: Sequence[Condition]) -> Test:
    """Does a request meet them all?"""
    tests = [_test(condition) for condition in conditions]
    if len(tests) == 1:
        return tests[0]
    return lambda head: all(test(head) for test in tests)


def _test(condition: Condition) -> Test:
    """A value that is given twice, and differently, is present and neither exact nor a prefix."""
    find = finder(condition.source, ())
    if condition.exact is not None:
        exact = condition.exact.encode()
        return lambda head: bool(found := find(head, ())) and all(value == exact for value in found)
    if condition.prefix is not None:
        prefix = condition.prefix.encode()
        return lambda head: (
            bool(found := find(head, ())) and all(value == found[0] and value.startswith(prefix) for value in found)
        )
    wanted = condition.present
    return lambda head: bool(find(head, ())) is wanted


def includes(narrow: Sequence[Condition], wide: Sequence[Condition]) -> bool:
    """Whatever meets `narrow` meets `wide`."""
    return all(any(_implies(one, other) for one in narrow) for other in wide)


def exclude_each_other(one: Sequence[Condition], other: Sequence[Condition]) -> bool:
    """No request meets both."""
    return any(_contradict(a, b) for a in one for b in other)


def narrowest_first(groups: Iterable[tuple[Sequence[Condition], int]]) -> list[int]:
    """An order in which none comes after a wider one. Items: (conditions, what they stand for)."""
    left = list(groups)
    ordered = []
    while left:
        first = next(
            (
                g
                for g in left
                if not any(o is not g and includes(o[0], g[0]) and not includes(g[0], o[0]) for o in left)
            ),
            left[0],
        )
        left.remove(first)
        ordered.append(first[1])
    return ordered


def _has_narrower(when: Sequence[Condition], among: Iterable[tuple[Sequence[Condition], int]]) -> bool:
    return any(includes(other, when) and not includes(when, other) for other, _ in among)


def key_of(condition: Condition) -> str:
    """Header names have no case; the names of parameters do."""
    kind, _, name = condition.source.partition(":")
    return f"{kind}:{name.lower()}" if kind == "header" else condition.source


def _implies(one: Condition, other: Condition) -> bool:
    if key_of(one) != key_of(other):
        return False
    if other.exact is not None:
        return one.exact == other.exact
    if other.prefix is not None:
        given = one.exact if one.exact is not None else one.prefix
        return given is not None and given.startswith(other.prefix)
    return other.present is (one.present is not False)


def _contradict(one: Condition, other: Condition) -> bool:
    if key_of(one) != key_of(other):
        return False
    if one.present is False or other.present is False:
        return one.present is not other.present
    if one.exact is not None and other.exact is not None:
        return one.exact != other.exact
    texts = [text for text in (one.exact, one.prefix, other.exact, other.prefix) if text is not None]
    if len(texts) < 2:
        return False
    if one.exact is not None:
        return not one.exact.startswith(texts[1])
    if other.exact is not None:
        return not other.exact.startswith(texts[0])
    return not (texts[0].startswith(texts[1]) or texts[1].startswith(texts[0]))
