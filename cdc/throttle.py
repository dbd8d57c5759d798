"""When work that can wait must wait: what the source bears, and a rate. Pure; the clock is passed in."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

GIB = 1 << 30


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot may ask of its source (`snapshot_limits` in the stream's file).

    A first fill copies ranges of `range_blocks` heap blocks (8 KiB), by so many `workers`; beside a running stream
    `chunk_rows` are read at once.
    """

    workers: int = 2
    rows_per_s: int | None = None
    active_sessions: int = 100
    standby_lag_s: float = 30.0
    wal_bytes: int = GIB
    chunk_rows: int = 5_000
    range_blocks: int = 2_048

    def __post_init__(self) -> None:
        bounds = {"workers": 16, "active_sessions": 1 << 31, "chunk_rows": 100_000, "range_blocks": 1 << 20}
        for name, most in bounds.items():
            least = 10 if name == "chunk_rows" else 1
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"snapshot_limits.{name} {getattr(self, name)}: use {least} to {most}")
        if self.rows_per_s is not None and self.rows_per_s < 1:
            raise ValueError(f"snapshot_limits.rows_per_s {self.rows_per_s}: use 1 or more, or null for no limit")
        if self.standby_lag_s <= 0 or self.wal_bytes <= 0:
            raise ValueError("snapshot_limits.standby_lag_s and .wal_bytes must be above 0")


@dataclass(frozen=True, slots=True)
class Load:
    """What the source bears now. `retained_bytes`: of the slot that keeps most WAL; `keep_bytes`: what slots may keep
    before the server gives one up, None without bound."""

    active_sessions: int
    standby_lag_s: float
    retained_bytes: int
    keep_bytes: int | None


def too_busy(load: Load, limits: Limits) -> str | None:
    """Why to wait, in words for a person; None: go on."""
    if load.active_sessions > limits.active_sessions:
        return f"{load.active_sessions} sessions are active at the source, the limit is {limits.active_sessions}"
    if load.standby_lag_s > limits.standby_lag_s:
        return f"a standby of the source is {load.standby_lag_s:.0f} s behind, the limit is {limits.standby_lag_s:g} s"
    return None


def wal_budget(load: Load, limits: Limits) -> int:
    """So much WAL may be kept: never more than half of what the server keeps before it gives a slot up."""
    return min(limits.wal_bytes, load.keep_bytes // 2) if load.keep_bytes is not None else limits.wal_bytes


def too_much_wal(load: Load, limits: Limits) -> str | None:
    """Why to wait; the opposite of help where it is one's own slot that keeps the WAL until one is done."""
    if load.retained_bytes <= (budget := wal_budget(load, limits)):
        return None
    return f"a slot of the source keeps {load.retained_bytes >> 20} MiB of WAL, the limit is {budget >> 20} MiB"


@dataclass(slots=True)
class Rate:
    """So many rows a second, with what a second leaves over for the next at most."""

    per_s: int | None
    due: float = 0.0

    def wait_s(self, rows: int, now: float) -> float:
        """How long to wait after these rows, seconds."""
        if self.per_s is None:
            return 0.0
        self.due = max(self.due, now - 1.0) + rows / self.per_s
        return max(0.0, self.due - now)
