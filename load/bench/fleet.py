"""`banyan bench fleet`: ten thousand agents wait for their schedule; it is published; who has it when?

The agents are `pi_agent`'s own cores with simulated batteries, in processes of their own, each on a kept connection to
the device service that keeps its poll waiting. The service, its database and the fleet share the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from banyan.errors import ServerFailed
from banyan.servers import Postgres
from banyan.servers.ports import free_port
from load.bench.report import Report, show
from load.bench.rig import resident_mb
from load.fleet.group import Group, split
from load.fleet.worker import Fleet
from services import devices
from services.chassis.migrate import migrate

BAR = {"p99_have_it_s": "< 5", "all_have_it_s": "< 5", "api_p95_ms": "< 200", "db_p95_ms": "< 50"}
MIGRATIONS = Path(devices.__file__).parent / "migrations"
KEY, TOKEN = "the-key-of-the-bench", "fleet-"
HEADERS = {"X-Api-Key": KEY}
#: What the agents do besides waiting; on a computer of their own they look at their batteries each second.
TIMING = {
    "wait_s": 60.0,
    "control_s": 20.0,
    "poll_s": 60.0,
    "report_s": 600.0,
    "ack_spread_s": 120.0,
    "request_timeout_s": 30.0,
}
PROBES_PER_S = 10

_DEVICES = """
INSERT INTO devices (id, serial, customer_id, model, capacity_wh, max_power_w, state, token_sha1, registered_at)
SELECT n, 'FLEET-' || n, 1, 'M', 10000, 5000, 'active', (%(tokens)s::text[])[n], now()
FROM generate_series(1, %(count)s) n
"""
_ONE_DOCUMENT = "SELECT version, slots FROM schedules WHERE device_id = %s"


@dataclass
class Probes:
    """Latencies in seconds of a back office that asks all the while, and of the question that a poll is in SQL."""

    api: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    failed: int = 0


def run(agents: int, turns: int, processes: int, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`turns` publications to all; the medians count. Raises: ServerMissing, ServerFailed, FleetFailed."""
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Postgres(data=folder / "pg", log=folder / "pg.log", settings={"shared_buffers": "256MB"}).start()
        try:
            dsn = server.dsn("postgres")
            tell(f"{agents:,} devices in the database")
            fill(dsn, agents)
            with service(dsn, folder / "devices.log") as (url, pid):
                return _measure(agents, turns, processes, url, pid, dsn, folder, tell)
        finally:
            server.stop()


def fill(dsn: str, count: int) -> None:
    """Live devices with tokens of their own, and a first schedule each."""
    migrate("devices", MIGRATIONS, {"DEVICES_OWNER_DATABASE_URL": dsn})
    # SHA-1 is what the contract keeps of a token.
    tokens = [hashlib.sha1(f"{TOKEN}{n}".encode()).hexdigest() for n in range(1, count + 1)]  # noqa: S324
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1) ON CONFLICT DO NOTHING")
        connection.execute(_DEVICES, {"tokens": tokens, "count": count})
        connection.execute("VACUUM ANALYZE")


@contextlib.contextmanager
def service(dsn: str, log: Path) -> Iterator[tuple[str, int]]:
    """The device service, one worker as in the stack: (its URL, its server's process)."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--backlog", "4096", "--backpressure", "30000", "services.devices.app:app"),
    ]
    own = {"DEVICES_DATABASE_URL": dsn, "LEGACY_SECRET_KEY": "bench-bench-bench-bench", "LEGACY_BACKOFFICE_KEY": KEY}
    with log.open("wb") as output:
        child = subprocess.Popen(command, env={**os.environ, **own}, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                    break
            if child.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"the device service did not come up: {log.read_text()[-500:]}")
            time.sleep(0.1)
        yield url, child.pid
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)


def publish(url: str, agents: int, power_w: int) -> float:
    """One schedule for all of them; gives the moment at which it was sent. Raises: ServerFailed."""
    slots = [{"from": "00:00", "to": "24:00", "mode": "charge", "power_w": power_w}]
    body = {"device_ids": list(range(1, agents + 1)), "slots": slots, "accept": ["soc"]}
    sent = time.monotonic()
    answer = httpx.put(f"{url}/v2/schedules", headers=HEADERS, json=body, timeout=60)
    if answer.status_code != 200:
        raise ServerFailed(f"publishing was answered {answer.status_code}: {answer.text[:300]}")
    return sent


def _measure(
    agents: int, turns: int, processes: int, url: str, pid: int, dsn: str, folder: Path, tell: Callable[[str], None]
) -> Report:
    publish(url, agents, 1000)
    empty_mb = _tree_mb(pid)
    # The stack's flag service is not part of this: every device is on v2 from a flag that is in its journal.
    told = httpx.get(f"{url}/v2/devices/1/schedule", headers=HEADERS, timeout=30)
    fleet = Fleet(
        *(1, agents, {"gateway": url, "service": url}, TOKEN, TIMING),
        on_v2=True,
        document=told.json(),
        etag=told.headers["etag"],
    )
    group = Group(split(fleet, processes), folder / "fleet.log").start()
    try:
        tell("agents start")
        waiting = lambda: _waiting(url) >= agents * 0.99  # noqa: E731  some are always between two polls
        group.until(lambda f: waiting(), "all wait for news", 60 + agents / 100)
        bare_mb = _tree_mb(pid) - empty_mb
        probes, over = Probes(), threading.Event()
        prober = threading.Thread(target=_probe, args=(url, dsn, agents, probes, over), daemon=True)
        prober.start()
        group.figures()
        rounds = []
        for turn in range(turns):
            time.sleep(20 if turn else 3)
            group.until(lambda f: waiting(), "all wait again", 60)
            rounds.append(_round(group, url, agents, turn + 2))
            last = rounds[-1]
            tell(f"round {turn + 1} of {turns}: 99 % after {last['p99']:.2f} s, all after {last['all']:.2f} s")
        final = group.figures(turns + 1)
        over.set()
        prober.join(10)
        fleet_mb = group.resident_mb()
    finally:
        group.stop()
    return _report(agents, rounds, probes, final, bare_mb, fleet_mb)


def _round(group: Group, url: str, agents: int, version: int) -> dict[str, float]:
    sent = publish(url, agents, 1000 + version)
    published = time.monotonic()
    found = group.until(lambda f: f["have"] == agents, f"all have schedule {version}", 60, version)
    arrived = [at - sent for at in found["arrived"]]
    return {
        "p50": statistics.median(arrived),
        "p99": arrived[int(agents * 0.99) - 1],
        "all": arrived[-1],
        "put": published - sent,
    }


def _waiting(url: str) -> int:
    """How many devices the service keeps waiting."""
    text = httpx.get(f"{url}/metrics", timeout=30).text
    found = re.search(r"^banyan_devices_waiting ([0-9.]+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def _probe(url: str, dsn: str, agents: int, probes: Probes, over: threading.Event) -> None:
    """A back office and a reader of the database, all the while."""
    number = 0
    with httpx.Client(base_url=url, headers=HEADERS, timeout=30) as client, psycopg.connect(dsn, autocommit=True) as db:
        while not over.wait(1 / PROBES_PER_S):
            number = number % agents + 1
            begun = time.monotonic()
            try:
                probes.failed += client.get(f"/v2/devices/{number}/schedule").status_code != 200
            except httpx.HTTPError:
                probes.failed += 1
            probes.api.append(time.monotonic() - begun)
            begun = time.monotonic()
            db.execute(_ONE_DOCUMENT, [number]).fetchone()
            probes.database.append(time.monotonic() - begun)


def _tree_mb(pid: int) -> float:
    """Resident memory of a process and of those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return resident_mb(pid) + sum(_tree_mb(int(child)) for child in children)


def _p95_ms(seconds: list[float]) -> float:
    return round(statistics.quantiles(seconds, n=20)[-1] * 1000, 1)


def _report(
    agents: int,
    rounds: list[dict[str, float]],
    probes: Probes,
    final: dict[str, Any],
    service_mb: float,
    fleet_mb: float,
) -> Report:
    figures = {
        "agents": agents,
        "rounds": len(rounds),
        **{f"{n}_have_it_s": round(statistics.median(r[n] for r in rounds), 2) for n in ("p50", "p99", "all")},
        "worst_all_have_it_s": round(max(r["all"] for r in rounds), 2),
        "publish_s": round(statistics.median(r["put"] for r in rounds), 2),
        "api_p95_ms": _p95_ms(probes.api),
        "db_p95_ms": _p95_ms(probes.database),
        "failed_requests": probes.failed + sum(n for s, n in final["statuses"].items() if s not in ("200", "304")),
        "unreachable": final["unreachable"],
        "service_mb_per_1000": round(service_mb / agents * 1000, 1),
        "agents_mb_per_1000": round(fleet_mb / agents * 1000, 1),
    }
    met = (
        figures["p99_have_it_s"] < 5
        and figures["all_have_it_s"] < 5
        and figures["api_p95_ms"] < 200
        and figures["db_p95_ms"] < 50
    )
    notes = [
        "from the first byte of PUT /v2/schedules to the moment at which the agents' journals have the schedule",
        f"API: a back office that reads a document {PROBES_PER_S} times a second, through each publication;"
        " database: the same document in SQL",
        "agents look at their batteries each 20 s, here; their acks of a schedule are spread over two minutes",
    ]
    return Report("fleet", figures, {}, BAR, met, notes=notes)


def show_report(report: Report) -> None:
    figures = report.figures
    rows = [
        ["99 % have it", f"{figures['p99_have_it_s']} s"],
        ["all have it", f"{figures['all_have_it_s']} s (worst round {figures['worst_all_have_it_s']} s)"],
        ["half have it", f"{figures['p50_have_it_s']} s"],
        ["of it the publication's own answer", f"{figures['publish_s']} s"],
        ["API, p95", f"{figures['api_p95_ms']} ms"],
        ["database, p95", f"{figures['db_p95_ms']} ms"],
        ["memory of the service for 1,000 devices that wait", f"{figures['service_mb_per_1000']} MB"],
        ["memory of 1,000 simulated agents", f"{figures['agents_mb_per_1000']} MB"],
        ["requests failed, unreachable", f"{figures['failed_requests']}, {figures['unreachable']}"],
    ]
    show(f"fleet: {figures['agents']:,} agents, {figures['rounds']} publications", ["", ""], rows, report)
