"""Who changed the table, when, why, from what to what: one JSON line per change, never rewritten."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gateway.control.table import RouteTable

LONGEST_LINE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """By which call a change came. `token`: whose it was, unlike the actor, which the caller only says."""

    token: str = ""
    call: str = ""
    request_id: str = ""
    traceparent: str = ""
    address: str = ""


NOWHERE = Source()


class Audit:
    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, actor: str, reason: str, before: RouteTable, after: RouteTable, source: Source = NOWHERE) -> None:
        """Before the change is made: what cannot be audited must not be. Raises: OSError, nothing is written."""
        entry = {
            "at": _now(),
            "actor": actor,
            "reason": reason,
            **{name: value for name, value in asdict(source).items() if value},
            "before": _changed(before, after),
            "after": _changed(after, before),
        }
        self._append(entry)

    def withdraw(self, actor: str, before: RouteTable, why: str) -> None:
        """The change that was added last was not made after all; a line of its own says so, as far as one can."""
        version = {"version": before.version}
        entry = {"at": _now(), "actor": actor, "reason": f"not made: {why}", "before": version, "after": version}
        with contextlib.suppress(OSError):
            self._append(entry)

    def sync(self) -> None:
        """Until then the lines are the kernel's, not the disk's. Raises: OSError."""
        with self._path.open("ab") as file:
            os.fsync(file.fileno())

    def _append(self, entry: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as file:
            end, line = file.seek(0, os.SEEK_END), msgspec.json.encode(entry) + b"\n"
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)  # half a line would spoil the next one
                raise

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest entries, oldest first."""
        try:
            with self._path.open("rb") as file:
                lines = deque(file, maxlen=limit)
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _changed(one: RouteTable, other: RouteTable) -> dict[str, Any]:
    """The version, and of the rest only what differs from the other table."""
    told: dict[str, Any] = {"version": one.version}
    if one.upstreams != other.upstreams:
        told["upstreams"] = msgspec.to_builtins(one.upstreams)
    for part in ("facade", "auth"):
        if getattr(one, part) != getattr(other, part):
            told[part] = msgspec.to_builtins(getattr(one, part))
    differing = {name: domain for name, domain in one.domains.items() if other.domains.get(name) != domain}
    for name, domain in differing.items():
        seen = msgspec.to_builtins(domain)
        known = other.domains.get(name)
        if known is not None and known.operations == domain.operations:
            del seen["operations"]
        told.setdefault("domains", {})[name] = seen
    return told
