"""Operations that a request just misses: what the table's author may have meant."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from gateway.control.overlaps import segments
from gateway.control.table import Condition, Operation, RouteTable
from gateway.routing.conditions import all_met
from gateway.routing.keys import Head

MOST = 5


def near_misses(table: RouteTable, method: str, path: str, head: Head) -> list[str]:
    """`operation of domain: why it is not the one`, the nearest first."""
    found = [
        (distance, f"{operation.id} of {name} ({operation.method} {operation.path}): {why}")
        for name, domain in table.domains.items()
        for operation in domain.operations
        for distance, why in _why_not(operation, method, path, head)
    ]
    return [text for _, text in sorted(found)[:MOST]]


def _why_not(operation: Operation, method: str, path: str, head: Head) -> Iterator[tuple[int, str]]:
    """(distance, reason) when it is near at all."""
    if _matches(operation.path, path):
        if operation.method != method:
            yield 1, f"another method, {operation.method}"
        else:
            unmet = [_told(condition) for condition in operation.when if not all_met([condition])(head)]
            yield 0, f"the request does not meet {' and '.join(unmet)}"
        return
    same = operation.method == method
    if path != "/" and _matches(operation.path, path.rstrip("/")):
        yield 2 - same, "the path ends with /"
    elif _matches(operation.path, path + "/"):
        yield 2 - same, "the path lacks the / at its end"
    elif _matches(operation.path.lower(), path.lower()):
        yield 2 - same, "upper and lower case differ"
    elif same:
        ours, theirs = segments(operation.path), segments(path)
        wrong = [(o, t) for o, t in zip(ours, theirs, strict=False) if not _matches_one(o, t)]
        if len(ours) == len(theirs) and len(wrong) == 1 and len(ours) > 1:
            yield 3, f"{wrong[0][1]!r} where it has {wrong[0][0]!r}"
        elif not wrong and abs(len(ours) - len(theirs)) == 1:
            yield 4, "a segment too many" if len(theirs) > len(ours) else "a segment too few"


def _matches(template: str, path: str) -> bool:
    ours, theirs = segments(template), segments(path)
    return len(ours) == len(theirs) and all(_matches_one(o, t) for o, t in zip(ours, theirs, strict=True))


def _matches_one(ours: str, theirs: str) -> bool:
    return bool(theirs) if ours.startswith("{") else unquote(ours) == unquote(theirs)


def _told(condition: Condition) -> str:
    if condition.exact is not None:
        return f"{condition.source} = {condition.exact!r}"
    if condition.prefix is not None:
        return f"{condition.source} beginning with {condition.prefix!r}"
    return f"{condition.source} {'present' if condition.present else 'absent'}"
