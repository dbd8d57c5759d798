"""How the answers of the two sides are compared: what the plan says of a domain or an operation, and its rules.

A path names a field of the body: `$.items[*].price`, with `[*]` for every element of a list, `*` for any one name and
`**` for any depth (`$.**.updated_at`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_PATH = re.compile(r"\$(?:\.(?:\*\*|\*|[^.*\[\]\s]+)|\[\*\])*")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")
_NEVER_SHOWN = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})
MOST_RULES = 100


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Numbers at `path` are equal when they differ by at most `absolute`, or by `relative` percent of the larger."""

    path: str
    absolute: float = 0
    relative: float = 0


class Unordered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The order of the list at `path` means nothing: its elements are matched by their field `key`, or as wholes."""

    path: str
    key: str = ""


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`headers`: compared besides the status and Content-Type. `redact`: fields that no sample shows.

    An operation's own rules are added to its domain's. `skip`: never ask the other side for a copy (a read with
    effects, or a write that calls a third party).
    """

    ignore: tuple[str, ...] = ()
    tolerances: tuple[Tolerance, ...] = ()
    unordered: tuple[Unordered, ...] = ()
    headers: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    skip: bool = False


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A field's differences are a regression when there are more of them than legacy has with itself, by both:

    `relative`: percent of the two shares' sum. `absolute`: percent of the comparisons.
    """

    relative: float = 20.0
    absolute: float = 0.03


NO_RULES = Comparison()


def both(one: Comparison, other: Comparison) -> Comparison:
    """The rules of a domain and of its operation together."""
    return Comparison(
        one.ignore + other.ignore,
        other.tolerances + one.tolerances,  # the first that fits is taken: the operation's own
        other.unordered + one.unordered,
        one.headers + other.headers,
        one.redact + other.redact,
        one.skip or other.skip,
    )


def problems_of_comparison(rules: Comparison) -> Iterator[tuple[str, str]]:
    """(where, what) of every breach; where as in `ignore[0]`."""
    paths = [(f"ignore[{n}]", path) for n, path in enumerate(rules.ignore)]
    paths += [(f"redact[{n}]", path) for n, path in enumerate(rules.redact)]
    paths += [(f"tolerances[{n}]", rule.path) for n, rule in enumerate(rules.tolerances)]
    paths += [(f"unordered[{n}]", rule.path) for n, rule in enumerate(rules.unordered)]
    for where, path in paths:
        if len(path) > 200 or not _PATH.fullmatch(path):
            yield where, f"{path!r} is not a path like $.items[*].price"
        elif path == "$" and where.startswith("ignore"):
            yield where, "to ignore $ is to compare nothing of the body; write skip: true"
    for number, rule in enumerate(rules.tolerances):
        if rule.absolute < 0 or not 0 <= rule.relative <= 100 or not (rule.absolute or rule.relative):
            yield f"tolerances[{number}]", "a tolerance has an absolute value above 0, or a relative one up to 100 %"
    for number, name in enumerate(rules.headers):
        if not _HEADER.fullmatch(name):
            yield f"headers[{number}]", f"{name!r} is not a header's name"
        elif name.lower() in _NEVER_SHOWN:
            yield f"headers[{number}]", f"{name} is a secret, and differs between the sides: it is not compared"
    if sum(map(len, (rules.ignore, rules.redact, rules.tolerances, rules.unordered, rules.headers))) > MOST_RULES:
        yield "", f"more than {MOST_RULES} rules"
