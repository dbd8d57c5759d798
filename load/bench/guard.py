"""`banyan bench guard`: what the guard's triggers cost a writer, in the monolith's own database.

Two measures, with and without the guard in turns: writes over HTTP against the monolith (`PUT …/rates`, one gunicorn
worker), and the CPU time of one bare UPDATE in its PostgreSQL backend, where the guard weighs most.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg

from banyan.errors import ServerFailed
from banyan.servers import Postgres
from banyan.servers.ports import free_port
from cdc.guard.install import install, uninstall
from cdc.mapping import load as load_mapping
from legacy_monolith.migrate import migrate
from load.bench import wrk
from load.bench.report import Report, show
from migration_plan import plan as plans

MOST_TURNS, UPDATES, CONNECTIONS = 5, 1500, 8
BAR = {"http_writes": ">= 0.9"}
TARIFF = (
    "INSERT INTO tariff (code, name, status, kind, standing_cents, vat_pct, valid_from, updated)"
    " SELECT 'T' || n, 'T', 'A', 'F', 31, 21, '2020-01-01', '2020-01-01' FROM generate_series(0, 63) n"
)
UPDATE = "UPDATE tariff SET standing_cents = %s WHERE code = %s"
RATES = '{"rates": [{"hour_from": 0, "hour_to": 24, "price_kwh": "0.21"}]}'
SCRIPT = """
local n = 0
function request()
  n = n + 1
  local headers = {["Content-Type"] = "application/json", ["X-Api-Key"] = "%s"}
  return wrk.format("PUT", "/api/tariffs/T" .. (n %% 64) .. "/rates", headers, '%s')
end
"""


def run(seconds: float, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`seconds` of HTTP load for each of the two. Raises: ServerMissing without wrk or PostgreSQL."""
    wrk.binary()
    mapping = load_mapping(plans.load().mapping_path("pricing"))
    turns = max(1, min(MOST_TURNS, round(seconds)))  # wrk counts whole seconds
    http: dict[str, list[wrk.Measured]] = {"bare": [], "guarded": []}
    cpu: dict[str, list[float]] = {"bare": [], "guarded": []}
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        dsn = stack.enter_context(_database(folder))
        url, key = stack.enter_context(_monolith(folder, dsn))
        script = wrk.write_script(folder, SCRIPT % (key, RATES))
        owner = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        for turn in range(turns):
            for kind in ("bare", "guarded") if turn % 2 == 0 else ("guarded", "bare"):
                tell(f"turn {turn + 1} of {turns}: {kind}")
                if kind == "guarded":
                    install(owner, mapping, "legacy")
                http[kind].append(wrk.run(url, script, max(1, seconds / turns), connections=CONNECTIONS, pin=[]))
                cpu[kind].append(_cpu_us(dsn))
                if kind == "guarded":
                    uninstall(owner, mapping, "legacy")
    return _report(http, cpu)


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[str]:
    server = Postgres(data=folder / "data", log=folder / "log").start()
    try:
        migrate(server.dsn("postgres"))
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(TARIFF)
        yield server.dsn("postgres")
    finally:
        server.stop()


@contextlib.contextmanager
def _monolith(folder: Path, dsn: str) -> Iterator[tuple[str, str]]:
    """(address, key of the back office) of the monolith over that database."""
    port, key = free_port(), secrets.token_hex(16)
    environment = {"LEGACY_DATABASE_URL": dsn, "LEGACY_SECRET_KEY": secrets.token_hex(16), "LEGACY_WORKERS": "1"}
    command = [sys.executable, "-m", "gunicorn", "--config", "python:legacy_monolith.gunicorn_conf"]
    with (folder / "legacy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}", "legacy_monolith.wsgi:app"],
            env={**os.environ, **environment, "LEGACY_BACKOFFICE_KEY": key}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_healthy(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}", key
    finally:
        process.terminate()
        process.wait(20)


def _wait_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=1):  # noqa: S310
            return
        time.sleep(0.05)
    raise ServerFailed("the monolith did not become ready")


def _cpu_us(dsn: str) -> float:
    """CPU time of the writer's backend per UPDATE, from the kernel's accounting (nanoseconds on a CPU)."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as writer:
        spent = Path(f"/proc/{writer.info.backend_pid}/schedstat")
        before = 0
        for n in range(UPDATES + 100):
            if n == 100:
                before = int(spent.read_text().split()[0])
            writer.execute(UPDATE, (n, f"T{n % 64}"))
        return (int(spent.read_text().split()[0]) - before) / UPDATES / 1000


def _report(http: dict[str, list[wrk.Measured]], cpu: dict[str, list[float]]) -> Report:
    figures = {
        kind: {
            "writes_per_s": round(statistics.median(m.per_second for m in http[kind]), 1),
            "p99_ms": round(statistics.median(m.p99_ms for m in http[kind]), 2),
            "cpu_us_per_update": round(min(cpu[kind]), 1),
            "errors": sum(m.errors for m in http[kind]),
        }
        for kind in http
    }
    bare, guarded = figures["bare"], figures["guarded"]
    ratios: dict[str, float | None] = {
        "http_writes": round(guarded["writes_per_s"] / bare["writes_per_s"], 3),
        "update_cpu": round(guarded["cpu_us_per_update"] / bare["cpu_us_per_update"], 3),
    }
    met = (ratios["http_writes"] or 0) >= 0.9 and not bare["errors"] and not guarded["errors"]
    return Report("guard", figures, ratios, BAR, met)


def show_report(report: Report) -> None:
    rows = [
        [kind, f"{f['writes_per_s']:,.0f}", f"{f['p99_ms']:.1f}", f"{f['cpu_us_per_update']:.0f}", str(f["errors"])]
        for kind, f in report.figures.items()
    ]
    columns = ["", "HTTP writes/s", "p99 ms", "CPU µs/update", "errors"]
    show(f"guard: the monolith's PUT …/rates, {CONNECTIONS} connections, one worker", columns, rows, report)
