"""`banyan bench snapshot`: a first fill with its mapping, against `psql COPY | psql COPY` between the same clusters.

Each fills a table of the service from the same rows of the monolith: six columns, of which three are converted. The
peer's target has the monolith's columns, since it cannot map. What a fill does besides is in its time: slot, snapshot,
ranges with their progress, parked keys.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog

from banyan.servers import Postgres
from banyan.servers.postgres import find_binaries
from cdc import mapping as mappings
from cdc import streams
from cdc.config import Stream
from cdc.runner import Runner
from cdc.throttle import Limits
from load.bench.report import Report, show

BAR = {"copy": ">= 0.5 (stretch 0.8)"}
LEGACY = """
CREATE TABLE item (
    id bigint PRIMARY KEY, code varchar(20), name text NOT NULL, price_cents int NOT NULL, seen timestamp NOT NULL,
    status char(1) NOT NULL DEFAULT 'A')
"""
SERVICE = """
CREATE TABLE product (
    id bigint PRIMARY KEY, code text, name text NOT NULL, price numeric(12,2) NOT NULL, seen_at timestamptz NOT NULL,
    state text NOT NULL)
"""
ROWS = """
INSERT INTO item SELECT n, 'c' || n, 'name of item ' || n, mod(n, 100000), '2024-01-01'::timestamp + n * interval '7 s',
    CASE WHEN mod(n, 7) = 0 THEN 'I' ELSE 'A' END FROM generate_series(1, %s::int) n
"""
MAPPING = """
domain: shop
tables:
  - legacy: public.item
    service: public.product
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns:
      - id
      - code
      - name
      - {legacy: price_cents, service: price, convert: cents}
      - {legacy: seen, service: seen_at, convert: local_time, zone: UTC}
      - {legacy: status, service: state, convert: enum, values: {A: active, I: inactive}}
"""


@dataclass(frozen=True, slots=True)
class Rig:
    folder: Path
    legacy: str
    service: str
    psql: Path


def run(rows: int, turns: int, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Each contestant in turns, `rows` each time; the medians count. Raises: ServerMissing, ServerFailed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with _rig(rows, tell) as rig:
        contestants: dict[str, Callable[[], float]] = {
            "copy": lambda: _copy(rig),
            "fill": lambda: _fill(rig, Limits()),
            "fill_one_worker": lambda: _fill(rig, Limits(workers=1)),
            "resnapshot": lambda: _resnapshot(rig),
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(turns):
            for name, measure in contestants.items():
                seconds = measure()
                rates[name].append(rows / seconds)
                tell(f"turn {turn + 1} of {turns}: {name} {rows / seconds:,.0f} rows/s")
    return _report(rows, rates)


@contextlib.contextmanager
def _rig(rows: int, tell: Callable[[str], None]) -> Iterator[Rig]:
    psql = find_binaries() / "psql"
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        servers = [Postgres(data=folder / side, log=folder / f"{side}.log").start() for side in ("legacy", "service")]
        try:
            legacy, service = (server.dsn("postgres") for server in servers)
            tell(f"{rows:,} rows")
            with (
                psycopg.connect(legacy, autocommit=True) as source,
                psycopg.connect(service, autocommit=True) as target,
            ):
                source.execute(LEGACY)
                source.execute(ROWS, [rows])
                source.execute("VACUUM ANALYZE item")
                target.execute(LEGACY)
                target.execute(SERVICE)
            (folder / "shop.yaml").write_text(MAPPING)
            yield Rig(folder, legacy, service, psql)
        finally:
            for server in servers:
                server.stop()


def _execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _clear(rig: Rig) -> None:
    """The target is empty, and the disk is not busy with what the last one left."""
    _execute(rig.service, "TRUNCATE item, product", "CHECKPOINT")
    _execute(rig.legacy, "CHECKPOINT")


def _copy(rig: Rig) -> float:
    """As a person would: psql into psql."""
    _clear(rig)
    began = time.monotonic()
    reader = subprocess.Popen([rig.psql, rig.legacy, "-qXc", "COPY item TO STDOUT"], stdout=subprocess.PIPE)
    subprocess.run([rig.psql, rig.service, "-qXc", "COPY item FROM STDIN"], stdin=reader.stdout, check=True)
    if reader.wait():
        raise RuntimeError("COPY … | COPY failed")
    return time.monotonic() - began


def _stream(rig: Rig, limits: Limits) -> Stream:
    name = "bench_snapshot"
    return Stream(
        name="shop.forward",
        domain="shop",
        direction="forward",
        source_dsn_env="SOURCE_DSN",
        target_dsn_env="TARGET_DSN",
        slot=name,
        publication=name,
        origin=name,
        snapshot=True,
        mapping=str(rig.folder / "shop.yaml"),
        snapshot_limits=limits,
    )


def _fill(rig: Rig, limits: Limits) -> float:
    _clear(rig)
    stream = _stream(rig, limits)
    mapping = mappings.load(rig.folder / "shop.yaml")
    streams.prepare(stream, rig.legacy, rig.service, mapping)
    try:
        began = time.monotonic()
        Runner(stream, mapping, rig.legacy, rig.service).snapshot(threading.Event())
        return time.monotonic() - began
    finally:
        streams.drop(stream, rig.legacy, rig.service)


def _resnapshot(rig: Rig) -> float:
    """All rows through windows beside the running stream, which has nothing else to do."""
    from cdc.snapshot import ask

    stream = _stream(rig, Limits())
    mapping = mappings.load(rig.folder / "shop.yaml")
    streams.prepare(stream, rig.legacy, rig.service, mapping)
    stop = threading.Event()
    runner = Runner(stream, mapping, rig.legacy, rig.service)
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    try:
        runner.snapshot(threading.Event())
        thread.start()
        dsns = rig.legacy, rig.service
        began = time.monotonic()
        ids = [item.id for item in ask.ask(stream, mapping, dsns, [])]
        for _ in ask.watch(stream, rig.service, [n for n in ids if n is not None], time.sleep, 0.05):
            pass
        return time.monotonic() - began
    finally:
        stop.set()
        thread.join(10)
        streams.drop(stream, rig.legacy, rig.service)


def _report(rows: int, rates: dict[str, list[float]]) -> Report:
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    figures = {
        "rows": rows,
        "rows_per_s": medians["fill"],
        "copy_rows_per_s": medians["copy"],
        "one_worker_rows_per_s": medians["fill_one_worker"],
        "resnapshot_rows_per_s": medians["resnapshot"],
    }
    ratio = round(medians["fill"] / medians["copy"], 3)
    notes = [
        "the fill maps three of six columns and keeps its progress; `COPY … | COPY` (psql) copies them as they are"
    ]
    return Report("snapshot", figures, {"copy": ratio}, BAR, ratio >= 0.5, notes=notes)


def show_report(report: Report) -> None:
    figures = report.figures
    lines = [
        ["COPY … | COPY, no mapping", f"{figures['copy_rows_per_s']:,}"],
        ["first fill, mapped, two workers", f"{figures['rows_per_s']:,}"],
        ["first fill, mapped, one worker", f"{figures['one_worker_rows_per_s']:,}"],
        ["re-snapshot beside the stream", f"{figures['resnapshot_rows_per_s']:,}"],
    ]
    show(f"snapshot: {figures['rows']:,} rows of six columns", ["", "rows/s"], lines, report)
