"""How far what fills a stream, or is read again beside it, has come: by the target's record, for who looks from
outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg

from cdc.snapshot import requests
from cdc.snapshot.requests import Request


class Standing(msgspec.Struct, frozen=True):
    """Of all that is open. `fills`: the stream is not complete without it; `rate`: rows a second of late, as the
    process that reads them noted it; `eta_s`: None while nobody can tell; `waits`: why it pauses; `begun`: somebody
    works on it; `step`: of the table that is read now.
    """

    table: str
    rows: int
    expected: int
    tables_left: int
    fills: bool
    rate: float | None = None
    eta_s: float | None = None
    waits: str | None = None
    begun: bool = True
    step: str = "rows"

    def __str__(self) -> str:
        """One line for a person."""
        what = "fills from" if self.fills else "reads again"
        more = f" and {self.tables_left - 1} more" if self.tables_left > 1 else ""
        said = f"{what} {self.table}{more}: {self.rows:,} of about {self.expected:,} rows"
        if self.waits is not None:
            return f"{said}, waits: {self.waits}"
        if not self.begun:
            return f"{said}, not begun"
        if self.step in requests.STEPS:
            return f"{said}, {requests.STEPS[self.step]}"
        rate = f", {self.rate:,.0f} rows/s" if self.rate else ""
        return said + rate + (f", about {span(self.eta_s)} left" if self.eta_s is not None else "")


def span(seconds: float) -> str:
    """`9 s`, `2 min 5 s`, `1 h 3 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def of(known: Sequence[Request]) -> Standing | None:
    """Of these requests; None when none is open. What is done of a fill counts, as long as some of it is open. Pure."""
    left = [request for request in known if request.state in requests.OPEN]
    if not left:
        return None
    fills = any(request.fills for request in left)
    counted = [r for r in known if r in left or (fills and r.fills and r.state == "done")]
    rows = sum(request.rows for request in counted)
    expected = sum(r.rows if r.state == "done" else max(r.expected or 0, r.rows) for r in counted)
    running = [request for request in left if request.state == "running"]
    now = max(running, key=lambda r: (r.rate or 0.0, r.rows), default=left[0])
    waits = next((request.waits for request in running if request.waits), None)
    rate = now.rate if now.rate else None
    eta = (expected - rows) / rate if rate is not None and waits is None else None
    return Standing(now.table, rows, expected, len(left), fills, rate, eta, waits, bool(running), now.step)


def read(connection: psycopg.Connection[Any], stream: str) -> Standing | None:
    """None while nothing is open. Raises: NotPrepared."""
    return of(requests.found(connection, stream))
