"""The result of a comparison: counts per table, and the first differing keys (not their values: people's data)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["missing", "extra", "different"]
SAMPLES = 10  # differing keys of a table that are told


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that is `missing` at the service, `extra` there, or `different` in these columns (of the legacy table)."""

    kind: Kind
    table: str
    key: dict[str, Any]
    columns: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        what = {"missing": "missing at the service", "extra": "only at the service"}.get(self.kind)
        return f"{self.table} {key}: {what or self.reason or 'differs in ' + ', '.join(self.columns)}"


@dataclass(frozen=True, slots=True)
class TableReport:
    """`rechecked`: looks at keys that differed while they were under way; `unsettled`: keys that never came to rest, or
    whose stream did not catch up in time. `drifted`: each differing key, up to some 10,000."""

    table: str
    service_table: str
    legacy_rows: int
    service_rows: int
    missing: int
    extra: int
    different: int
    rechecked: int
    unsettled: int
    complete: bool
    drifted: tuple[Difference, ...]

    @property
    def samples(self) -> tuple[Difference, ...]:
        return self.drifted[:SAMPLES]

    @property
    def rows(self) -> int:
        return max(self.legacy_rows, self.service_rows)

    @property
    def drift(self) -> int:
        return self.missing + self.extra + self.different

    @property
    def clean(self) -> bool:
        return self.complete and not self.drift and not self.unsettled


@dataclass(frozen=True, slots=True)
class Report:
    """`stalled` names the streams whose watermark was waited for in vain."""

    domain: str
    tables: tuple[TableReport, ...]
    seconds: float
    stalled: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def drift(self) -> int:
        return sum(table.drift for table in self.tables)

    @property
    def rechecked(self) -> int:
        return sum(table.rechecked for table in self.tables)

    @property
    def unsettled(self) -> int:
        return sum(table.unsettled for table in self.tables)

    @property
    def samples(self) -> tuple[Difference, ...]:
        return tuple(sample for table in self.tables for sample in table.samples)

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def clean(self) -> bool:
        return all(table.clean for table in self.tables)
