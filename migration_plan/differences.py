"""In what two plans, or a plan and what runs, differ: by path, with both values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from migration_plan.plan import Plan

_IDENTITIES = ("id", "wave", "name")


class _Missing:
    """What one side does not have."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


class Difference(msgspec.Struct, frozen=True):
    """`before` or `after` is MISSING where a side does not have it."""

    path: str
    before: Any
    after: Any

    @property
    def kind(self) -> str:
        return "added" if self.before is MISSING else "removed" if self.after is MISSING else "changed"

    def plain(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, "kind": self.kind, **{k: v for k, v in sides.items() if v is not MISSING}}


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Of plain values. Lists of things with an id, a wave or a name are told by it; other lists are one value."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(before.get(key, MISSING), after.get(key, MISSING), inner)
        return
    keyed = _keyed(before), _keyed(after)
    if keyed[0] is not None and keyed[1] is not None:
        for key in dict.fromkeys([*keyed[0], *keyed[1]]):
            yield from differences(keyed[0].get(key, MISSING), keyed[1].get(key, MISSING), f"{path}[{key}]")
        return
    yield Difference(path, before, after)


def of_plans(before: Plan, after: Plan) -> list[Difference]:
    return list(differences(_plain(before), _plain(after)))


def _plain(plan: Plan) -> Any:
    values = msgspec.to_builtins(plan, enc_hook=_text)
    values.pop("path")
    return values


def _text(value: Any) -> str:
    assert isinstance(value, Path)
    return str(value)


def _keyed(value: Any) -> dict[Any, Any] | None:
    """None for what is no such list; waves of a plan, which have no number, go by their place."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        return None
    for identity in _IDENTITIES:
        keys = [one.get(identity) for one in value]
        if value and None not in keys and len(set(keys)) == len(keys):
            return dict(zip(keys, value, strict=True))
    return dict(enumerate(value))
