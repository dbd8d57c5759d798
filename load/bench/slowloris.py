"""`banyan bench slowloris`: normal clients beside thousands of connections that drip, or do not read.

In one run: normal clients alone, then among the slow ones, then alone again. Every slow connection must end by the
gateway's own limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import uvloop

from banyan.errors import ServerFailed
from load.bench.report import Report, show
from load.bench.rig import Rig, files_allowed, percentile, rig, server
from load.bench.slow_clients import Told
from load.bench.wire import read_answer, request

NORMAL = 8  # clients
# Of the idle class: whoever else wants to run takes the processor from them at once, not after milliseconds.
BACKGROUND = ["chrt", "--idle", "0"] if shutil.which("chrt") else []
BAR = {"p99": "<= 2.0", "left": "0", "failed": "0"}
LIMITS = {"GATEWAY_SLOW_TIMEOUT": "3", "GATEWAY_WRITE_TIMEOUT": "3"}
# Normal requests go to a server of their own: the gateway is measured, not the server that feeds those who do not read.
TABLE = {"waves": [{"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "service", "owner": "service"}]}


async def _normal(port: int, seconds: float) -> list[float]:
    """Milliseconds of each request of one client with a kept connection; negative: it failed."""
    taken: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = request("GET", "/items", X_Id="n")
    deadline = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < deadline:
        writer.write(data)
        answer = await read_answer(reader, "GET")
        ms = (time.perf_counter() - begun) * 1e3
        taken.append(ms if answer.whole and answer.status == 200 else -ms)
        if not answer.keeps_connection:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.005)
    writer.close()
    return taken


async def _normals(port: int, seconds: float) -> list[float]:
    return [ms for taken in await asyncio.gather(*(_normal(port, seconds) for _ in range(NORMAL))) for ms in taken]


def _normals_apart(port: int, seconds: float) -> list[float]:
    """In a process of their own, which the slow clients do not keep busy. Raises: CalledProcessError."""
    command = [sys.executable, "-m", "load.bench.slowloris", str(port), str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    taken: list[float] = msgspec.json.decode(done.stdout, type=list[float])
    return taken


@contextlib.contextmanager
def _attack(port: int, connections: int, tell: Callable[[str], None]) -> Iterator[subprocess.Popen[bytes]]:
    """The slow ones, in a process of their own that gets the processors when nobody else wants them.

    They would be on other machines; here they must not delay the clients whose time is taken.
    """
    command = [*BACKGROUND, sys.executable, "-m", "load.bench.slow_clients", str(port), str(connections)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        tell(f"{_told(process).open} slow connections are open")
        yield process
    finally:
        process.kill()
        process.wait()


def _told(process: subprocess.Popen[bytes]) -> Told:
    """The next thing that they say. Raises: ServerFailed."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ServerFailed("the slow clients ended early: one of them was never cut off, or could not connect")
    return msgspec.json.decode(line, type=Told)


def run(connections: int, seconds: float, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`seconds` of normal load before, among and after. Raises: ServerFailed when a slow one is never cut off."""
    allowed = files_allowed(connections + 1000)
    notes = []
    if allowed < connections + 500:
        notes.append(f"only {allowed} open files are allowed here: {allowed - 500} slow connections")
        connections = allowed - 500
    with (
        tempfile.TemporaryDirectory(prefix="banyan-bench-") as name,
        server("load.bench.faulty", before=BACKGROUND) as slow_port,
        server("load.bench.faulty") as port,
        rig(Path(name), slow_port, port, table=TABLE, **LIMITS) as gateway,
    ):
        tell("normal clients alone")
        _normals_apart(gateway.port, 1)
        alone = _normals_apart(gateway.port, seconds)
        before = gateway.resident_mb()
        with _attack(gateway.port, connections, tell) as attackers:
            among = _normals_apart(gateway.port, seconds)
            tell("waiting for the last of them to be cut off")
            assert attackers.stdin is not None
            attackers.stdin.close()
            slow = _told(attackers)
        grown = gateway.resident_mb() - before
        tell("normal clients alone again")
        alone += _normals_apart(gateway.port, seconds)
        return _report(connections, alone, among, slow, grown, _left(gateway), notes)


def _left(gateway: Rig) -> int:
    deadline = time.monotonic() + 10
    while (left := sum(int(worker["connections"]) for worker in gateway.figures())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _report(
    connections: int, alone: list[float], among: list[float], slow: Told, grown: float, left: int, notes: list[str]
) -> Report:
    failed = sum(ms < 0 for ms in (*alone, *among))
    alone, among = [abs(ms) for ms in alone], [abs(ms) for ms in among]
    figures = {
        "connections": connections,
        "failed": failed,
        "most_open": slow.most_open,
        "cut_off": slow.cut_off,
        "left": left,
        "requests": len(alone) + len(among),
        "p50_alone_ms": round(statistics.median(alone), 3),
        "p50_among_ms": round(statistics.median(among), 3),
        "p99_alone_ms": round(percentile(alone, 99), 3),
        "p99_among_ms": round(percentile(among, 99), 3),
        "resident_grown_mb": round(grown, 1),
    }
    ratio = round(percentile(among, 99) / percentile(alone, 99), 3)
    return Report("slowloris", figures, {"p99": ratio}, BAR, ratio <= 2.0 and not left and not failed, notes=notes)


def show_report(report: Report) -> None:
    rows = [[name, str(value)] for name, value in report.figures.items()]
    show("slowloris: normal clients beside slow ones", ["", ""], rows, report)


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(_normals(int(sys.argv[1]), float(sys.argv[2])))).decode())
