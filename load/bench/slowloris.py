"""`banyan bench slowloris`: normal clients beside thousands of connections that drip, or do not read.

In one run: normal clients alone, then among the slow ones, then alone again. Every slow connection must end by the
gateway's own limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from load.bench.report import Report, show
from load.bench.rig import Rig, files_allowed, percentile, rig, server
from load.bench.wire import read_answer, request

NORMAL = 8  # clients
DRIP_SECONDS = 0.5
BACK_SECONDS = 3.0
BAR = {"p99": "<= 2.0", "left": "0", "failed": "0"}
LIMITS = {"GATEWAY_SLOW_TIMEOUT": "3", "GATEWAY_WRITE_TIMEOUT": "3"}
# Normal requests go to a server of their own: the gateway is measured, not the server that feeds those who do not read.
TABLE = {"waves": [{"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "service", "owner": "service"}]}
HEAD = b"GET /items HTTP/1.1\r\nHost: a\r\n"
BODY = b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
KINDS = {"head": (HEAD, b"X"), "body": (BODY, b"x"), "deaf": (request("GET", "/endless"), b"")}


@dataclass(slots=True)
class Slow:
    """The slow ones: each keeps its place until it is cut off, and then takes another."""

    port: int
    cut_off: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    open: int = 0
    most_open: int = 0
    stopping: bool = False

    async def one(self, kind: str) -> None:
        first, drop = KINDS[kind]
        while not self.stopping:
            try:
                reader, writer = await self._connect()
            except OSError:
                await asyncio.sleep(DRIP_SECONDS)
                continue
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            state = select.poll()  # tells of an end even to who does not read
            state.register(writer.get_extra_info("socket").fileno(), 0)
            with contextlib.suppress(OSError, RuntimeError):
                writer.write(first)
                while not (state.poll(0) or reader.at_eof() or self._refused(reader, kind)):
                    if drop:
                        writer.write(drop)
                    await asyncio.sleep(DRIP_SECONDS)
            self.open -= 1
            self.cut_off[kind] += 1
            writer.transport.abort()
            if kind == "deaf" and not self.stopping:  # what it does not read costs its server more than the gateway
                await asyncio.sleep(BACK_SECONDS)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock, limit=1024)

    @staticmethod
    def _refused(reader: asyncio.StreamReader, kind: str) -> bool:
        """A 408 has come, or what the deaf were to be fed could not be had."""
        heard = bytes(reader._buffer[:12])  # type: ignore[attr-defined]
        return heard[9:12] >= b"500" if kind == "deaf" else bool(heard)


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


async def _attack(port: int, connections: int, seconds: float, tell: Callable[[str], None]) -> tuple[Slow, list[float]]:
    slow = Slow(port)
    kinds = ["head", "body", "head", "body", "deaf"]
    tasks = []
    for n in range(connections):
        tasks.append(asyncio.create_task(slow.one(kinds[n % len(kinds)])))
        if n % 50 == 49:
            await asyncio.sleep(0.02)  # they come quickly, but not faster than any listener can accept
    while slow.most_open < connections * 0.9:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    tell(f"{slow.open} slow connections are open")
    taken = await asyncio.to_thread(_normals_apart, port, seconds)
    slow.stopping = True
    tell("waiting for the last of them to be cut off")
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    return slow, taken


def run(connections: int, seconds: float, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`seconds` of normal load before, among and after. Raises: TimeoutError when a slow one is never cut off."""
    allowed = files_allowed(connections + 1000)
    notes = []
    if allowed < connections + 500:
        notes.append(f"only {allowed} open files are allowed here: {allowed - 500} slow connections")
        connections = allowed - 500
    with (
        tempfile.TemporaryDirectory(prefix="banyan-bench-") as name,
        server("load.bench.faulty") as slow_port,
        server("load.bench.faulty") as port,
        rig(Path(name), slow_port, port, table=TABLE, **LIMITS) as gateway,
    ):
        tell("normal clients alone")
        _normals_apart(gateway.port, 1)
        alone = _normals_apart(gateway.port, seconds)
        before = gateway.resident_mb()
        slow, among = uvloop.run(_attack(gateway.port, connections, seconds, tell))
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
    connections: int, alone: list[float], among: list[float], slow: Slow, grown: float, left: int, notes: list[str]
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
