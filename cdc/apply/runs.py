"""Operations gathered into runs that one statement can write, in an order that changes nothing. Pure.

Foreign keys do not fire for the applier, so tables are independent of each other. Within a table the order of runs is
the order of changes: an insert may need the unique value that an earlier delete set free. What fills parts of wide rows
comes after what makes these rows: it writes other columns, and needs the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdc.apply.operations import Kind, Operation
from cdc.apply.route import Route
from cdc.change import Row


@dataclass(slots=True)
class Run:
    """Operations of one kind on one table with the same columns; one row per key."""

    kind: Kind
    route: Route
    columns: tuple[str, ...]
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    moves: list[Operation] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows) or len(self.moves) or 1


def gather(operations: Iterable[Operation]) -> list[Run]:
    runs: list[Run] = []
    last: dict[tuple[str, str], Run] = {}
    late = False
    for op in operations:
        columns = (
            tuple(name for name in op.route.columns if name in op.row)
            if op.kind in ("patch", "move")
            else op.route.columns
        )
        lane = op.route.target, op.route.source
        run = last.get(lane)
        if run is None or run.kind != op.kind or run.columns != columns or op.kind == "clear":
            if run is not None and run.kind == "upsert" and op.kind == "patch" and op.key in run.rows:
                run.rows[op.key] = {**run.rows[op.key], **op.row}
                continue
            run = last[lane] = Run(op.kind, op.route, columns)
            runs.append(run)
            late = late or not op.route.makes
        if op.kind == "move":
            run.moves.append(op)
        else:
            run.rows[op.key] = op.row
    return sorted(runs, key=lambda run: not run.route.makes) if late else runs


def last_words(operations: Sequence[Operation]) -> list[Operation]:
    """What whole rows that come and go amount to, table by table: first what goes, then what stays or comes, each key
    once. It gives what the operations give one by one, or fails (unique values that wander between rows need their
    order). Tables of which anything else is asked keep what is asked of them, in order.
    """
    lanes: dict[tuple[str, str], list[Operation]] = {}
    for op in operations:
        lanes.setdefault((op.route.target, op.route.source), []).append(op)
    found: list[Operation] = []
    for lane in lanes.values():
        if any(op.kind not in ("upsert", "delete") for op in lane):
            found += lane
            continue
        gone = {op.key: op for op in lane if op.kind == "delete"}
        last = {op.key: op for op in lane}
        found += [*gone.values(), *(op for op in last.values() if op.kind == "upsert")]
    return found
