"""What watches over the data of a domain, as status shows it: the comparing process, and foreign writers."""

from __future__ import annotations

from typing import Any

import msgspec

from cdc.foreign import unsettled
from cdc.verify.state import Kept
from migration_plan.compile import DIRECTIONS
from migration_plan.context import Context
from migration_plan.looks import Looks
from migration_plan.plan import Side

#: Foreign commits of a stream that are shown, and those that are told among the problems.
FOREIGN_SHOWN, NAMED = 20, 3


class Comparing(msgspec.Struct, frozen=True):
    """What the comparing process has kept: `rows` and `at_table` of the pass under way; the rest since it first ran.

    `clean_age_s`: since the newest clean pass began. `problem`: why it cannot compare.
    """

    passes: int
    at_table: str | None
    rows: int
    rows_total: int
    requeued: int
    drift_found: int
    drift_repaired: int
    clean_age_s: float | None
    stalled: list[str]
    problem: str | None


class ForeignWrite(msgspec.Struct, frozen=True):
    """A commit by somebody who does not own what was written, that nobody has settled."""

    stream: str
    table: str
    xid: int
    lsn: str
    role: str
    rows: int
    at: str


def comparing(kept: Kept) -> Comparing:
    return Comparing(
        kept.passes,
        kept.at_table,
        kept.rows,
        kept.rows_total,
        kept.requeued_total,
        kept.found_total,
        kept.repaired_total,
        kept.clean_age_s,
        list(kept.last_stalled),
        kept.problem,
    )


def foreign_writes(context: Context, looks: Looks, name: str, side: Side, problems: list[str]) -> list[ForeignWrite]:
    def read() -> list[dict[str, Any]]:
        with context.control(name, side) as connection:
            return [write for way in DIRECTIONS for write in unsettled(connection, f"{name}.{way}", FOREIGN_SHOWN)]

    found = looks.at(read, problems) or []
    return [
        ForeignWrite(w["stream"], w["table"], w["xid"], w["lsn"], w["role"], w["rows"], w["commit_at"].isoformat())
        for w in found
    ]


def alarm(name: str, found: ForeignWrite) -> str:
    return (
        f"a foreign writer ({found.role}) wrote {found.table} in transaction {found.xid} at {found.lsn}: find out"
        f" who, take it back with `banyan verify {name} --repair`, then say so:"
        f" `python -m cdc foreign settle --stream {found.stream}`"
    )
