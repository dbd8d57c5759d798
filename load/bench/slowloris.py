"""`banyan bench slowloris`: normal clients beside thousands of connections that drip, or do not read.

In alternating rounds: normal clients alone, then among the slow ones. The ratio of a round compares neighbours in time,
and the median of the rounds counts: p99 of seconds is what a shared machine disturbs most. The gateway's worker has a
core of its own; what stands for other machines (clients of both sorts, servers) shares the other one. Every slow
connection must end by the gateway's own limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from banyan.errors import ServerFailed
from load.bench.report import Report, show
from load.bench.rig import Rig, files_allowed, percentile, pins, rig, server
from load.bench.slow_clients import Told
from load.bench.wire import read_answer, request

NORMAL = 8  # clients
# Of the idle class: whoever else wants to run takes the processor from them at once, not after milliseconds.
BACKGROUND = ["chrt", "--idle", "0"] if shutil.which("chrt") else []
BAR = {"p99": "<= 2.0", "left": "0", "failed": "0"}
SLOW_SECONDS = 3.0  # that the gateway gives them
LIMITS = {"GATEWAY_SLOW_TIMEOUT": f"{SLOW_SECONDS:g}", "GATEWAY_WRITE_TIMEOUT": f"{SLOW_SECONDS:g}"}
# Normal requests go to a server of their own: the gateway is measured, not the server that feeds those who do not read.
TABLE = {"waves": [{"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "service", "owner": "service"}]}


@dataclass(slots=True)
class Round:
    """Milliseconds of each request; negative: it failed."""

    alone: list[float]
    among: list[float]

    @property
    def ratio(self) -> float:
        return _p99(self.among) / _p99(self.alone)

    @property
    def failed(self) -> int:
        return sum(ms < 0 for ms in (*self.alone, *self.among))


def _p99(taken: list[float]) -> float:
    return percentile([abs(ms) for ms in taken], 99)


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


def _normals_apart(port: int, seconds: float, pin: Sequence[str]) -> list[float]:
    """In a process of their own, which the slow clients do not keep busy. Raises: CalledProcessError."""
    command = [*pin, sys.executable, "-m", "load.bench.slowloris", str(port), str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    taken: list[float] = msgspec.json.decode(done.stdout, type=list[float])
    return taken


@contextlib.contextmanager
def _attack(port: int, connections: int, pin: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The slow ones, all there and some already cut off, in a process that gets a processor when nobody else wants it.

    They would be on other machines; here they must not delay the clients whose time is taken.
    """
    command = [*pin, *BACKGROUND, sys.executable, "-m", "load.bench.slow_clients", str(port), str(connections)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        _told(process)
        time.sleep(SLOW_SECONDS)
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


def run(connections: int, seconds: float, rounds: int, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`seconds` of normal load in each half of a round. Raises: ServerFailed when a slow one is never cut off."""
    allowed = files_allowed(connections + 1000)
    notes = []
    if allowed < connections + 500:
        notes.append(f"only {allowed} open files are allowed here: {allowed - 500} slow connections")
        connections = allowed - 500
    own, others = pins()
    if not own:
        notes.append("fewer than two cores, or no taskset: nothing is pinned")
    with (
        tempfile.TemporaryDirectory(prefix="banyan-bench-") as name,
        server("load.bench.faulty", before=[*others, *BACKGROUND]) as slow_port,
        server("load.bench.faulty", before=others) as port,
        rig(Path(name), slow_port, port, table=TABLE, before=own, **LIMITS) as gateway,
    ):
        _normals_apart(gateway.port, 1, others)
        before = gateway.resident_mb()
        measured, slow = [], []
        for turn in range(rounds):
            tell(f"round {turn + 1} of {rounds}: normal clients alone, then among {connections} slow ones")
            alone = _normals_apart(gateway.port, seconds, others)
            with _attack(gateway.port, connections, others) as attackers:
                measured.append(Round(alone, _normals_apart(gateway.port, seconds, others)))
                assert attackers.stdin is not None
                attackers.stdin.close()
                slow.append(_told(attackers))
        grown = gateway.resident_mb() - before
        return _report(connections, measured, slow, grown, _left(gateway), notes)


def _left(gateway: Rig) -> int:
    deadline = time.monotonic() + 10
    while (left := sum(int(worker["connections"]) for worker in gateway.figures())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _report(
    connections: int, rounds: list[Round], slow: list[Told], grown: float, left: int, notes: list[str]
) -> Report:
    failed = sum(one.failed for one in rounds)
    ratios = [round(one.ratio, 3) for one in rounds]
    figures = {
        "connections": connections,
        "failed": failed,
        "most_open": max(told.most_open for told in slow),
        "cut_off": {kind: sum(told.cut_off[kind] for told in slow) for kind in slow[0].cut_off},
        "left": left,
        "requests": sum(len(one.alone) + len(one.among) for one in rounds),
        "p50_alone_ms": _median(statistics.median(map(abs, one.alone)) for one in rounds),
        "p50_among_ms": _median(statistics.median(map(abs, one.among)) for one in rounds),
        "p99_alone_ms": _median(_p99(one.alone) for one in rounds),
        "p99_among_ms": _median(_p99(one.among) for one in rounds),
        "p99_ratios": ratios,
        "resident_grown_mb": round(grown, 1),
    }
    ratio = statistics.median(ratios)
    return Report("slowloris", figures, {"p99": ratio}, BAR, ratio <= 2.0 and not left and not failed, notes=notes)


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


def show_report(report: Report) -> None:
    rows = [[name, str(value)] for name, value in report.figures.items()]
    show("slowloris: normal clients beside slow ones", ["", ""], rows, report)


if __name__ == "__main__":
    gc.disable()  # a collection here would be taken for the gateway's
    print(msgspec.json.encode(uvloop.run(_normals(int(sys.argv[1]), float(sys.argv[2])))).decode())
