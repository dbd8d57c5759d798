"""What about a stream somebody should be called for. Pure: figures in, words out, each with what helps."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdc.capture.slot import AGAIN, Slot

# Shares of the WAL that the server keeps for a slot (max_slot_wal_keep_size).
WARN, CRITICAL = 0.5, 0.8
# Without such a limit a slot can fill the source's disk; from here on it is told as well, bytes.
UNBOUNDED = 1_000_000_000

Severity = Literal["warning", "critical"]


class Alarm(msgspec.Struct, frozen=True):
    name: str
    severity: Severity
    words: str


def of_slot(name: str, slot: Slot | None) -> list[Alarm]:
    """Of a slot that should be there: its state, and how much WAL it makes the source keep."""
    if slot is None or slot.wal_status == "lost":
        why = "does not exist" if slot is None else f"is lost ({slot.why or 'its WAL was removed'})"
        return [Alarm("slot-lost", "critical", f"slot {name} {why}: {AGAIN}")]
    found: list[Alarm] = []
    if slot.wal_status == "unreserved":
        found.append(
            Alarm(
                "slot-unreserved",
                "critical",
                f"slot {name} is lost at the source's next checkpoint: let its stream catch up now",
            )
        )
    held = _held(slot)
    if slot.room is None:
        severity: Severity = "critical" if slot.retained > UNBOUNDED else "warning"
        kept = megabytes(slot.retained)
        words = f"slot {name} keeps {kept} of WAL, and nothing bounds it: set max_slot_wal_keep_size at the source"
        found.append(Alarm("wal-unbounded", severity, words))
        return found
    limit = slot.retained + slot.room
    share = slot.retained / limit if limit > 0 else 1.0
    if share > WARN:
        words = f"slot {name} keeps {megabytes(slot.retained)} of WAL, {share:.0%} of what the source allows: {held}"
        found.append(Alarm("wal-retained", "critical" if share > CRITICAL else "warning", words))
    return found


def _held(slot: Slot) -> str:
    """Who keeps the WAL. A slot also keeps what a transaction needs that is still open, whatever was confirmed."""
    if slot.retained > 2 * slot.unconfirmed:
        return "an open transaction at the source keeps it, not the stream: end it"
    return "bring the stream back, or its slot is lost"


def megabytes(size: int) -> str:
    """`12 kB`, `340 MB`, `1.2 GB`."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.{1 if unit == 'GB' else 0}f} {unit}"
    return f"{size} B"
