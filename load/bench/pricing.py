"""`banyan bench pricing`: every open quote under every tariff, end to end from the database (services.pricing.bulk).

A calculation is one amount to the cent, VAT included, exact: a sample of them is held to the Decimal arithmetic that
quotes are given with. Counted are the seconds of all cores that took part, this process's and PostgreSQL's, not only
the time that passed.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from banyan.servers import Postgres
from load.bench.report import Report, show
from services import pricing
from services.chassis.migrate import migrate
from services.pricing.bulk import reading
from services.pricing.bulk.compare import compare
from services.pricing.bulk.exact import cents
from services.pricing.domain.quotes import dynamic_amount, fixed_amount

BAR = {"calculations_per_s_per_core": ">= 10000000"}
MIGRATIONS = Path(pricing.__file__).parent / "migrations"
SAMPLE = 2000

_TARIFFS = """
INSERT INTO tariffs (id, code, name, state, kind, standing_charge, vat_rate, valid_from)
SELECT n, 'T' || to_char(n, 'FM000'), 'tariff ' || n, 'active', CASE mod(n, 4) WHEN 0 THEN 'dynamic' ELSE 'fixed' END,
       0.31, CASE mod(n, 3) WHEN 0 THEN 0.09 ELSE 0.21 END, '2024-01-01Z' FROM generate_series(1, %s) n
"""
_RATES = """
INSERT INTO tariff_rates (tariff_id, starts_hour, ends_hour, price_per_kwh)
SELECT t.id, h * 8, h * 8 + 8, 0.10 + mod(t.id * 7919 + h * 104729, 30000) / 100000.0
FROM tariffs t, generate_series(0, 2) h WHERE t.kind = 'fixed'
"""
_MARKET = """
INSERT INTO market_prices (area, starts_at, price, source)
SELECT 'NL', timestamptz '2024-01-01 00:00+01' + n * interval '1 hour', mod(n * 7919, 30000) / 100.0 - 50, 'bench'
FROM generate_series(0, 8783) n
"""
_QUOTES = """
INSERT INTO quotes (customer_id, tariff_code, energy_kwh, amount, state)
SELECT mod(n, 100000) + 1, 'T' || to_char(mod(n, %(tariffs)s) + 1, 'FM000'),
       mod(n * 7919::bigint, 9000000) / 1000.0 + 1, mod(n, 90000) / 100.0, 'open' FROM generate_series(1, %(quotes)s) n
"""


def run(quotes: int, tariffs: int, turns: int, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`turns` times all `quotes` × `tariffs`; the medians count. Raises: ServerMissing, ServerFailed."""
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Postgres(data=folder / "pg", log=folder / "pg.log", settings={"shared_buffers": "512MB"}).start()
        try:
            dsn = server.dsn("postgres")
            tell(f"{quotes:,} quotes, {tariffs} tariffs")
            _fill(dsn, quotes, tariffs)
            wrong = _wrong(dsn)
            runs = []
            for turn in range(turns):
                runs.append(_timed(dsn, quotes * tariffs))
                tell(f"turn {turn + 1} of {turns}: {runs[-1]['per_core']:,.0f} calculations/s a core")
        finally:
            server.stop()
    return _report(quotes, tariffs, runs, wrong)


def _fill(dsn: str, quotes: int, tariffs: int) -> None:
    migrate("pricing", MIGRATIONS, {"PRICING_OWNER_DATABASE_URL": dsn})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TARIFFS, [tariffs])
        connection.execute(_RATES)
        connection.execute(_MARKET)
        connection.execute(_QUOTES, {"quotes": quotes, "tariffs": tariffs})
        connection.execute("VACUUM ANALYZE")


def _timed(dsn: str, calculations: int) -> dict[str, float]:
    with psycopg.connect(dsn) as connection:
        backend = connection.info.backend_pid
        before, began, mine = _cpu_seconds(backend), time.perf_counter(), time.process_time()
        done = compare(connection)
        seconds, cpu = time.perf_counter() - began, time.process_time() - mine
        server = _cpu_seconds(backend) - before
    if done.calculations != calculations or done.unpriced:
        raise RuntimeError(f"{done.calculations} of {calculations} calculations were made")
    return {
        "seconds": seconds,
        "client_cpu": cpu,
        "server_cpu": server,
        "per_core": calculations / (cpu + server),
        "per_s": calculations / seconds,
        "quotes_per_s": done.quotes / seconds,
    }


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wrong(dsn: str) -> int:
    """How many of a sample of amounts differ from Decimal's."""
    dice = random.Random(1)
    with psycopg.connect(dsn) as connection:
        units = reading.units(connection)
        basis: dict[str, tuple[Any, ...]] = {
            row[0]: row[1:] for row in connection.execute(reading.TARIFFS, reading.NOW)
        }
        energies = [Decimal(dice.randrange(1, 9_000_000)) / 1000 for _ in range(SAMPLE)]
    made = cents(np.array([int(energy * 1000) for energy in energies], dtype=np.int64), units)
    wrong = 0
    for row, energy in enumerate(energies):
        column = dice.randrange(len(units))
        kind, vat_rate, rate_sum, market_sum, hours = basis[units[column].code]
        if kind == "fixed":
            amount = fixed_amount(energy, rate_sum, vat_rate)
        else:
            amount = dynamic_amount(energy, market_sum, hours, vat_rate)
        wrong += int(amount * 100) != int(made[row, column])
    return wrong


def _report(quotes: int, tariffs: int, runs: list[dict[str, float]], wrong: int) -> Report:
    middle = {name: statistics.median(each[name] for each in runs) for name in runs[0]}
    figures = {
        "quotes": quotes,
        "tariffs": tariffs,
        "calculations_per_s_per_core": round(middle["per_core"]),
        "calculations_per_s": round(middle["per_s"]),
        "quotes_per_s": round(middle["quotes_per_s"]),
        "seconds": round(middle["seconds"], 3),
        "client_cpu_s": round(middle["client_cpu"], 3),
        "server_cpu_s": round(middle["server_cpu"], 3),
        "differing_from_decimal": wrong,
    }
    met = figures["calculations_per_s_per_core"] >= 10_000_000 and wrong == 0
    notes = [
        "a calculation: the amount of one quote under one tariff, to the cent, VAT included, read from the database",
        f"{SAMPLE:,} amounts are held to Decimal; a core's second is one of this process or of PostgreSQL's",
    ]
    return Report("pricing", figures, {}, BAR, met, notes=notes)


def show_report(report: Report) -> None:
    figures = report.figures
    rows = [
        ["calculations a second and core", f"{figures['calculations_per_s_per_core']:,}"],
        ["calculations a second", f"{figures['calculations_per_s']:,}"],
        ["quotes read a second", f"{figures['quotes_per_s']:,}"],
        ["amounts that differ from Decimal's", f"{figures['differing_from_decimal']} of {SAMPLE:,}"],
    ]
    show(f"pricing: {figures['quotes']:,} quotes under {figures['tariffs']} tariffs", ["", ""], rows, report)
