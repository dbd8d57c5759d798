"""`banyan bench swap`: how long a published table takes to be live on all workers, and what clients notice of it.

The gateway runs as in production (parent, workers, admin process) under wrk's load while its table changes many times.
A change is live when every worker has confirmed that its next request is decided by it; its time includes the check of
the whole table, its file and the way to the workers. The answer to who published it waits for the disk as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from banyan.errors import ServerFailed
from banyan.servers.ports import free_port
from gateway.control.client import AdminClient
from gateway.errors import AdminError
from load.bench import contestants, wrk
from load.bench.report import Report, show

CONNECTIONS = 16
GAP_SECONDS = 0.02  # between two changes
BAR = {"p99_ms": "< 10", "failed": "= 0"}
OPERATIONS = 60  # more than the shipped plan has


def run(seconds: float, workers: int = 2, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Raises: banyan.errors.ServerMissing without wrk, ServerFailed."""
    wrk.binary()
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        backend_port, port, admin_port = free_port(), free_port(), free_port()
        stack.enter_context(contestants.backend(folder, backend_port, []))
        admin = stack.enter_context(_gateway(folder, port, admin_port, backend_port, workers))
        script = wrk.write_script(folder)
        url = f"http://127.0.0.1:{port}{contestants.PATH}"
        tell("calm: the same changes without load")
        calm = _swap_for(admin, min(2.0, seconds))
        tell(f"{seconds:g} s of load and changes")
        measured: list[wrk.Measured] = []
        load = threading.Thread(
            target=lambda: measured.append(wrk.run(url, script, seconds, connections=CONNECTIONS, pin=[]))
        )
        load.start()
        busy = _swap_for(admin, seconds)
        load.join()
    if not measured:
        raise ServerFailed("wrk did not end well")
    return _report(calm, busy, measured[0], workers)


def _swap_for(admin: AdminClient, seconds: float) -> list[float]:
    """Milliseconds of each change. Raises: ServerFailed when a worker does not confirm one."""
    took = []
    version = admin.table().version
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        percent = 5 + version % 90
        applied = admin.patch_domain("pricing", version, "bench", "swap", canary_percent=percent)
        if not applied.everywhere:
            raise ServerFailed(f"version {applied.version} is on {applied.applied} of {applied.total} workers")
        took.append(applied.ms)
        version = applied.version
        time.sleep(GAP_SECONDS)
    return took


@contextlib.contextmanager
def _gateway(folder: Path, port: int, admin_port: int, backend_port: int, workers: int) -> Iterator[AdminClient]:
    table = folder / "first.json"
    table.write_text(json.dumps(_table(backend_port)))
    token = os.urandom(16).hex()
    settings = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
        "GATEWAY_STATE_DIR": str(folder / "state"),
        "GATEWAY_ADMIN_TOKEN": token,
        "GATEWAY_TABLE": str(table),
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_REDIS_URL": "",
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    log = folder / "gateway.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **settings})
    try:
        with AdminClient(f"http://127.0.0.1:{admin_port}", token) as admin:
            _wait(admin, process, workers, log)
            yield admin
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(admin: AdminClient, process: subprocess.Popen[bytes], workers: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(AdminError):
            version = admin.table().version
            applied = admin.patch_domain("pricing", version, "bench", "first", canary_percent=50)
            if applied.applied == workers:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip().splitlines()[-2:]
            raise ServerFailed(f"the gateway did not become ready: {' / '.join(tail) or 'it said nothing'}")
        time.sleep(0.1)


def _table(backend_port: int) -> dict[str, object]:
    upstream = {"urls": [f"http://127.0.0.1:{backend_port}"], "health": "/"}
    wave = {"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "canary", "canary_percent": 50}
    operations: list[dict[str, object]] = [
        {"id": "prices.list", "method": "GET", "path": contestants.PATH, "kind": "read", "key": ["header:x-client-id"]}
    ]
    operations += [
        {"id": f"thing{n}.get", "method": "GET", "path": f"/api/things{n}/{{id}}", "kind": "read", "key": ["path:id"]}
        for n in range(OPERATIONS)
    ]
    domain = {"service": "pricing", "waves": [wave], "operations": operations}
    return {"version": 1, "upstreams": {"legacy": upstream, "pricing": upstream}, "domains": {"pricing": domain}}


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3)


def _report(calm: list[float], busy: list[float], load: wrk.Measured, workers: int) -> Report:
    figures = {
        "swaps": len(busy),
        "workers": workers,
        "p50_ms": round(statistics.median(busy), 3),
        "p99_ms": _percentile(busy, 0.99),
        "most_ms": round(max(busy), 3),
        "calm_p50_ms": round(statistics.median(calm), 3),
        "calm_p99_ms": _percentile(calm, 0.99),
        "requests": load.requests,
        "per_s": round(load.per_second, 1),
        "failed": load.errors,
    }
    return Report("swap", figures, {}, BAR, figures["p99_ms"] < 10 and not load.errors)


def show_report(report: Report) -> None:
    f = report.figures
    counts = [f"{f['requests']:,}", str(f["failed"])]
    rows = [
        ["calm", "", f"{f['calm_p50_ms']:.2f}", f"{f['calm_p99_ms']:.2f}", "", ""],
        ["under load", str(f["swaps"]), *(f"{f[name]:.2f}" for name in ("p50_ms", "p99_ms")), *counts],
    ]
    columns = ["", "changes", "p50 ms", "p99 ms", "requests", "failed"]
    show(f"swap: published to live on all {f['workers']} workers", columns, rows, report)
