"""What the parts around the controller promise. A mutant breaks one promise (see `mutants.py`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    guard_locks: bool = True  # guard.sql: SELECT … FOR SHARE, not a plain read of the transaction's snapshot
    marker: bool = True  # banyan.fence writes a marker; else a controller waits for a position that it read before
    position_with_rows: bool = True  # cdc/apply: the position is stored in the transaction that it belongs to
    reverse_runs: bool = True
    leaves_once: bool = True  # gateway/policies/hold.py: a held request is released or refused, never both
    pins_shared: bool = True  # gateway/policies/sharing.py: a write is answered when all nodes know its pin
    held_reads_wait: bool = True  # gateway/http1/patience.py: who wrote since the hold waits
