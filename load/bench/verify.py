"""`banyan bench verify`: rows/s compared, both sides, while a stream carries a steady load; its lag must not notice.

The shipped mapping of hourly prices (local hours and flags there, instants here), hashed by both databases. In turns:
the load alone, then the load with comparisons, one after the other.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from banyan.servers import Postgres
from cdc import streams
from cdc.apply.applier import Applied
from cdc.config import Stream
from cdc.mapping import Mapping
from cdc.mapping import load as load_mapping
from cdc.runner import Runner
from cdc.status import Status
from cdc.verify import Carrier, verify
from cdc.verify import Report as Compared
from legacy_monolith.migrate import migrate as migrate_legacy
from load.bench.report import Report, show
from migration_plan import plan as plans
from services import pricing
from services.chassis.migrate import migrate as migrate_service

BAR = {"rows_per_s": ">= 500000 (1M)", "lag_p99": "<= 2 x the load alone, or < 50 ms"}
WRITES_PER_S = 500
TABLE = "public.price"
AREAS = 10
MIGRATIONS = Path(pricing.__file__).parent / "migrations"
PRICES = """
INSERT INTO price (id, area, ts, hour_flag, eur_mwh, source, updated)
SELECT n + 1, 'A' || n %% %(areas)s, i AT TIME ZONE 'Europe/Amsterdam',
       CASE WHEN (i + interval '1 hour') AT TIME ZONE 'Europe/Amsterdam' = i AT TIME ZONE 'Europe/Amsterdam' THEN 'A'
            WHEN (i - interval '1 hour') AT TIME ZONE 'Europe/Amsterdam' = i AT TIME ZONE 'Europe/Amsterdam' THEN 'B'
            ELSE 'N' END,
       (n %% 40000 - 5000) / 100.0, 'bench', timestamp '2024-01-01 12:00'
  FROM (SELECT n, timestamptz '2010-01-01 00:00Z' + n / %(areas)s * interval '1 hour' AS i
          FROM generate_series(0, %(rows)s - 1) n) s
"""
MARKET_PRICES = """
INSERT INTO market_prices (id, area, starts_at, price, source, updated_at)
SELECT n + 1, 'A' || n %% %(areas)s, timestamptz '2010-01-01 00:00Z' + n / %(areas)s * interval '1 hour',
       (n %% 40000 - 5000) / 100.0, 'bench', timestamptz '2024-01-01 11:00Z'
  FROM generate_series(0, %(rows)s - 1) n
"""


@dataclass(slots=True)
class _Lags(Status):
    """A status that keeps the lag of every batch of rows."""

    lags: list[float] = field(default_factory=list)

    def note(self, applied: Applied, parked: int) -> None:
        Status.note(self, applied, parked)
        if applied.rows:
            self.lags.append(applied.lag_ms)


def run(rows: int, seconds: float, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`rows` on each side; `seconds` of load alone, and of load with comparisons. Raises: ServerMissing."""
    mapping = load_mapping(plans.load().mapping_path("pricing"))
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        tell(f"two databases with {rows:,} prices each")
        legacy, service = (stack.enter_context(_database(folder / side, side, rows)) for side in ("legacy", "pricing"))
        status, stream = stack.enter_context(_streaming(legacy, service, mapping))
        stop, written = threading.Event(), [0]
        load = threading.Thread(target=_load, args=(legacy, rows, stop, written), daemon=True)
        load.start()
        stack.callback(load.join, 10)
        stack.callback(stop.set)
        tell("load alone")
        stop.wait(min(2.0, seconds / 2))
        alone = _lags(status, lambda: stop.wait(seconds))
        compared: list[Compared] = []
        began, before = time.perf_counter(), written[0]

        def compare() -> None:
            deadline = time.monotonic() + seconds
            while not compared or time.monotonic() < deadline:
                carrier = Carrier(stream.name, legacy, stream.publication)
                compared.append(verify(legacy, service, mapping, carriers={"forward": carrier}, tables=[TABLE]))

        tell("load and comparisons")
        during = _lags(status, compare)
        rate = (written[0] - before) / (time.perf_counter() - began)
    return _report(rows, alone, during, compared, rate)


@contextlib.contextmanager
def _database(folder: Path, side: str, rows: int) -> Iterator[str]:
    server = Postgres(data=folder, log=folder.with_suffix(".log"), settings={"shared_buffers": "256MB"}).start()
    try:
        dsn = server.dsn("postgres")
        if side == "legacy":
            migrate_legacy(dsn)
        else:
            migrate_service(side, MIGRATIONS, {"PRICING_OWNER_DATABASE_URL": dsn})
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("ALTER TABLE price DISABLE TRIGGER USER" if side == "legacy" else "SELECT 1")
            connection.execute(PRICES if side == "legacy" else MARKET_PRICES, {"rows": rows, "areas": AREAS})
            connection.execute("VACUUM ANALYZE")
        yield dsn
    finally:
        server.stop()


@contextlib.contextmanager
def _streaming(legacy: str, service: str, mapping: Mapping) -> Iterator[tuple[_Lags, Stream]]:
    """A forward stream over sides that are alike already."""
    stream = Stream(
        name="pricing.forward",
        domain="pricing",
        direction="forward",
        source_dsn_env="-",
        target_dsn_env="-",
        slot="bench_forward",
        publication="bench_forward",
        origin="bench_forward",
        snapshot=False,
        mapping="-",
    )
    streams.prepare(stream, legacy, service, mapping)
    status, stop = _Lags(stream.name), threading.Event()
    runner = Runner(stream, mapping, legacy, service, status)
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield status, stream
    finally:
        stop.set()
        thread.join(10)


def _load(dsn: str, rows: int, stop: threading.Event, written: list[int]) -> None:
    """Updates of single rows, one commit each, at a steady rate."""
    began = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.is_set():
            ahead = began + written[0] / WRITES_PER_S - time.monotonic()
            if ahead > 0 and stop.wait(ahead):
                return
            key = written[0] * 7919 % rows + 1
            connection.execute("UPDATE price SET eur_mwh = eur_mwh + 0.01 WHERE id = %s", [key])
            written[0] += 1


def _lags(status: _Lags, work: Callable[[], Any]) -> list[float]:
    before = len(status.lags)
    work()
    return sorted(status.lags[before:])


def _at(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 2) if values else 0.0


def _report(rows: int, alone: list[float], during: list[float], compared: list[Compared], rate: float) -> Report:
    best = max(compared, key=lambda one: one.rows_per_s)
    speed = sum(one.rows for one in compared) / sum(one.seconds for one in compared)
    figures = {
        "rows_per_s": round(speed),
        "best_rows_per_s": round(best.rows_per_s),
        "rows": rows,
        "comparisons": len(compared),
        "rechecked": sum(one.rechecked for one in compared),
        "drift": sum(one.drift for one in compared),
        "unsettled": sum(one.unsettled for one in compared),
        "writes_per_s": round(rate),
        "lag_p50_ms": _at(during, 0.5),
        "lag_p99_ms": _at(during, 0.99),
        "lag_max_ms": _at(during, 1.0),
        "lag_alone_p50_ms": _at(alone, 0.5),
        "lag_alone_p99_ms": _at(alone, 0.99),
    }
    lag = figures["lag_p99_ms"] / figures["lag_alone_p99_ms"] if figures["lag_alone_p99_ms"] else None
    ratios: dict[str, float | None] = {"lag_p99": round(lag, 2) if lag else None}
    unnoticed = figures["lag_p99_ms"] < 50 or (lag or 0) <= 2
    met = speed >= 500_000 and unnoticed and not figures["drift"] and not figures["unsettled"]
    return Report("verify", figures, ratios, BAR, met)


def show_report(report: Report) -> None:
    f = report.figures
    rows = [
        ["rows compared per second, both sides", f"{f['rows_per_s']:,}"],
        [
            "apply lag with comparisons, p50 / p99 / max ms",
            f"{f['lag_p50_ms']} / {f['lag_p99_ms']} / {f['lag_max_ms']}",
        ],
        ["apply lag of the load alone, p50 / p99 ms", f"{f['lag_alone_p50_ms']} / {f['lag_alone_p99_ms']}"],
        ["writes per second meanwhile", f"{f['writes_per_s']}"],
        ["keys looked at again, false drift", f"{f['rechecked']}, {f['drift']}"],
    ]
    show(f"verify: {f['rows']:,} rows on each side, {f['comparisons']} comparisons", ["", ""], rows, report)
