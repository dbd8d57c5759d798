"""`banyan bench soak`: clients that keep connections and pipeline, servers that misbehave at random, several workers.

Every request has an id and every answer names the one that it belongs to: nobody may ever get another's. Afterwards
nothing is left open, and the memory is where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from banyan.errors import ServerFailed
from load.bench.faults import FAULTS, answer_of
from load.bench.report import Report, show
from load.bench.rig import Rig, rig, server
from load.bench.wire import Answer, Garbled, read_answer, request

CLIENTS = 32
MOST_PIPELINED = 8
MOST_TURNED_AWAY = 400  # connections in a row, 50 ms apart
LONGEST_ANSWER = 60.0  # seconds; a client that waits so long is counted as unanswered
BAR = {"mixups": "0", "garbled": "0", "unanswered": "0", "leaked": "0"}
HARMLESS = ("ok", "chunked", "until_close", "interim", "early_answer")
STALLS = ("stall_before_head", "stall_in_head", "stall_in_body")
SETTINGS = {
    "GATEWAY_READ_TIMEOUT": "0.5", "GATEWAY_PATIENCE": "0.05", "GATEWAY_BREAKER_RESET": "0.1",
    "GATEWAY_HEALTH_INTERVAL": "0.2",
}  # fmt: skip


@dataclass(slots=True)
class Asked:
    """A request under way."""

    id: str
    method: str
    size: int
    digest: str | None  # of the body; None: its server answers before it has read it
    data: bytes


@dataclass(slots=True)
class Tally:
    statuses: Counter[int] = field(default_factory=Counter)
    whole: int = 0
    cut: int = 0  # broken off, visibly
    unserved: int = 0  # pipelined behind one that ended the connection
    mixups: list[str] = field(default_factory=list)
    garbled: list[str] = field(default_factory=list)
    unanswered: int = 0
    connections: int = 0

    @property
    def seen(self) -> int:
        return self.whole + self.cut + self.unserved


def make(rng: random.Random, identity: str) -> Asked:
    """A random request with a random fault."""
    draw = rng.random()
    fault = rng.choice(HARMLESS) if draw < 0.7 else rng.choice([*FAULTS])
    if fault in STALLS and rng.random() < 0.8:  # each costs a client half a second
        fault = "ok"
    size = rng.choice((1, 5, 100, 2000)) if rng.random() < 0.97 else 30_000
    method, path, body, chunks = "GET", "/items", b"", 0
    extra: dict[str, str] = {}
    kind = rng.random()
    if kind < 0.1:
        method = "HEAD"
    elif kind < 0.5:
        method, path = rng.choice((("POST", "/items"), ("PUT", f"/items/{identity}"), ("POST", "/orders")))
        body = answer_of(identity, rng.choice((1, 10, 500, 5000)))
        chunks = rng.choice((0, 0, 1, 7))
        if path == "/orders":
            extra["Idempotency_Key"] = identity
    data = request(
        method, path, body, chunks, X_Id=identity, X_Fault=fault, X_Size=str(size), X_Request_Id=identity, **extra
    )
    early = fault.startswith("early")
    return Asked(identity, method, size, None if early else hashlib.sha1(body, usedforsecurity=False).hexdigest(), data)


def judge(asked: Asked, answer: Answer, tally: Tally) -> None:
    """Count it, and keep what is not this request's own."""
    headers = answer.headers
    tally.statuses[answer.status] += 1
    if answer.status == 0:
        tally.cut += 1
        return
    wrong = headers.get("x-request-id") != asked.id
    if answer.status == 200:
        expected = b"" if asked.method == "HEAD" else answer_of(asked.id, asked.size)
        wrong |= headers.get("x-answer") != asked.id
        wrong |= asked.digest is not None and headers.get("x-digest") != asked.digest
        wrong |= not (answer.body == expected if answer.whole else expected.startswith(answer.body))
    if wrong:
        tally.mixups.append(f"{asked.data[:200]!r} got {answer.status} {headers} {answer.body[:80]!r}")
    tally.whole += answer.whole
    tally.cut += not answer.whole


async def client(port: int, number: int, requests: int, seed: int, tally: Tally, tell: Callable[[], None]) -> None:
    rng = random.Random(seed * 1000 + number)
    made, turned_away = 0, 0
    while made < requests:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        except OSError as error:
            turned_away += 1
            if turned_away > MOST_TURNED_AWAY:
                raise ServerFailed(f"the gateway takes no connections: {error}") from error
            await asyncio.sleep(0.05)
            continue
        turned_away = 0
        tally.connections += 1
        alive = True
        while alive and made < requests:
            batch = [
                make(rng, f"{number}-{made + n}") for n in range(min(rng.randint(1, MOST_PIPELINED), requests - made))
            ]
            made += len(batch)
            alive = await _batch(reader, writer, batch, tally)
            tell()
            if rng.random() < 0.02:  # leaves for no reason, now and then in the middle
                writer.write(make(rng, f"{number}-gone").data)
                break
        writer.transport.abort()


async def _batch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, batch: list[Asked], tally: Tally) -> bool:
    """Send them all at once, read their answers in order; whether the connection can go on."""
    writer.write(b"".join(asked.data for asked in batch))
    for index, asked in enumerate(batch):
        try:
            async with asyncio.timeout(LONGEST_ANSWER):
                answer = await read_answer(reader, asked.method)
        except TimeoutError:
            tally.unanswered += 1
            return False
        except Garbled as error:
            tally.garbled.append(str(error))
            return False
        judge(asked, answer, tally)
        if not answer.keeps_connection:
            tally.unserved += len(batch) - index - 1
            return False
    return True


async def drive(port: int, requests: int, seed: int, tally: Tally, tell: Callable[[str], None]) -> Tally:
    """So many requests (and a few more, to be divisible by the clients), added to `tally`."""
    told = tally.seen

    def progress() -> None:
        nonlocal told
        if tally.seen - told >= 10_000:
            told = tally.seen
            tell(f"{told} requests, {len(tally.mixups)} mix-ups")

    share = -(-requests // CLIENTS)
    await asyncio.gather(*(client(port, n, share, seed, tally, progress) for n in range(CLIENTS)))
    return tally


def run(requests: int, workers: int = 2, seed: int = 1, tell: Callable[[str], None] = lambda _: None) -> Report:
    table = {"shadow_percent": 10}
    with (
        tempfile.TemporaryDirectory(prefix="banyan-bench-") as name,
        server("load.bench.faulty") as legacy,
        server("load.bench.faulty") as service,
        rig(Path(name), legacy, service, workers=workers, table=table, **SETTINGS) as gateway,
    ):
        # What the first half makes (caches, pools, the allocator's arenas) may stay; what grows after it leaks.
        descriptors = gateway.descriptors()
        started = time.monotonic()
        tally = uvloop.run(drive(gateway.port, requests // 2, seed, Tally(), tell))
        half = gateway.resident_mb()
        uvloop.run(drive(gateway.port, requests - requests // 2, seed + 1, tally, tell))
        seconds = time.monotonic() - started
        grown = gateway.resident_mb() - half
        return _report(tally, seconds, _settled(gateway), grown, gateway.descriptors() - descriptors)


def _settled(gateway: Rig) -> int:
    """Clients and exchanges that are still there when nothing should be."""
    deadline = time.monotonic() + 15
    while True:
        left = sum(int(worker["connections"]) + int(worker["active"]) for worker in gateway.figures())
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    time.sleep(6)  # idle connections to the servers are closed after 4 s
    return left


def _report(tally: Tally, seconds: float, left: int, grown_mb: float, descriptors: int) -> Report:
    figures = {
        "requests": tally.seen,
        "per_s": round((tally.whole + tally.cut) / seconds, 1),
        "connections": tally.connections,
        "whole": tally.whole,
        "cut_short": tally.cut,
        "behind_the_last": tally.unserved,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "mixups": len(tally.mixups),
        "garbled": len(tally.garbled),
        "unanswered": tally.unanswered,
        "leaked": left + max(0, descriptors),
        "resident_grown_mb": round(grown_mb, 2),
    }
    notes = [*tally.mixups[:5], *tally.garbled[:5]]
    met = not any(figures[name] for name in BAR)
    return Report("soak", figures, {}, BAR, met, notes=notes)


def show_report(report: Report) -> None:
    rows = [[name, str(value)] for name, value in report.figures.items()]
    show("soak: random faults, every answer names its request", ["", ""], rows, report)
