"""`banyan bench shadow`: what clients notice of shadowed reads when the shadowed side is well, dead, slow or lying.

One gateway worker, clients that ask at a steady pace, legacy, and for each state of the service a run of its own beside
runs without shadow; the states take turns in short rounds, and medians are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from banyan.servers.ports import free_port
from load.bench import shadow_sides
from load.bench.report import Report, show
from load.bench.rig import Rig, rig, server

CLIENTS = 16
PER_SECOND = 800.0
ROUND_SECONDS = 1.0  # short, so that a disturbance hits all states alike
STATES = ("off", "well", "dead", "slow", "lying")
MOST_P99 = 1.5  # times that without shadow
BAR = {f"{state}_p99": f"<= {MOST_P99}" for state in STATES[1:]} | {"errors": "0"}
PATH = "/items"


@dataclass(slots=True)
class Rounds:
    """What clients saw in one state, and what it cost the worker."""

    milliseconds: list[list[float]] = field(default_factory=list)  # of each round
    cpu_us: list[float] = field(default_factory=list)  # per request
    errors: int = 0

    def figures(self) -> dict[str, float]:
        return {
            "p50_ms": round(statistics.median(_percentile(one, 0.50) for one in self.milliseconds), 3),
            "p99_ms": round(statistics.median(_percentile(one, 0.99) for one in self.milliseconds), 3),
            "cpu_us_per_request": round(statistics.median(self.cpu_us), 1),
            "requests": sum(map(len, self.milliseconds)),
            "errors": self.errors,
        }


def run(
    seconds: float, tell: Callable[[str], None] = lambda _: None, *, per_second: float = PER_SECOND, slow: float = 5.0
) -> Report:
    """`seconds` of load in each state; `slow`: seconds that the slow side takes."""
    results = {state: Rounds() for state in STATES}
    rounds = max(1, round(seconds / ROUND_SECONDS))
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        sides = {
            state: stack.enter_context(server("load.bench.shadow_sides", state, str(slow)))
            for state in ("legacy", "well", "slow", "lying")
        }
        legacy = sides["legacy"]
        ports = {"off": sides["well"], "dead": free_port(), **sides}
        gateways = {state: stack.enter_context(_gateway(folder, state, legacy, ports[state])) for state in STATES}
        for gateway in gateways.values():
            uvloop.run(_load(gateway.port, 0.5, per_second / 4))
        for turn in range(rounds):
            for state in STATES if turn % 2 == 0 else reversed(STATES):
                tell(f"round {turn + 1} of {rounds}: {state}")
                _round(gateways[state], results[state], min(seconds, ROUND_SECONDS), per_second)
    return _report(results)


def _round(gateway: Rig, into: Rounds, seconds: float, per_second: float) -> None:
    before = gateway.cpu_seconds()
    took, errors = uvloop.run(_load(gateway.port, seconds, per_second))
    into.milliseconds.append(took)
    into.errors += errors
    into.cpu_us.append((gateway.cpu_seconds() - before) * 1e6 / max(1, len(took)))


async def _load(port: int, seconds: float, per_second: float) -> tuple[list[float], int]:
    """(milliseconds of each answer, answers that were not legacy's). Who is late counts from when it was due."""
    took: list[float] = []
    wrong = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        gap = CLIENTS / per_second
        due = time.perf_counter() + gap * number / CLIENTS
        request = f"GET {PATH} HTTP/1.1\r\nHost: a\r\nX-Id: client-{number}\r\nAccept: */*\r\n\r\n".encode()
        try:
            while due < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(len(shadow_sides.TRUTH))
                took.append((time.perf_counter() - due) * 1000)
                wrong += body != shadow_sides.TRUTH or not head.startswith(b"HTTP/1.1 200 ")
                due += gap
        except (OSError, asyncio.IncompleteReadError):
            wrong += 1
        finally:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return took, wrong


def _gateway(folder: Path, state: str, legacy: int, service: int) -> contextlib.AbstractContextManager[Rig]:
    home = folder / state
    home.mkdir()
    wave = {"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "shadow"}
    table = {"waves": [wave], "shadow_percent": 0 if state == "off" else 100}
    return rig(home, legacy, service, table=table)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else float("inf")


def _report(results: dict[str, Rounds]) -> Report:
    figures: dict[str, Any] = {state: rounds.figures() for state, rounds in results.items()}
    plain = figures["off"]
    ratios: dict[str, float | None] = {}
    for state in STATES[1:]:
        ratios[f"{state}_p99"] = round(figures[state]["p99_ms"] / plain["p99_ms"], 3)
        ratios[f"{state}_cpu"] = round(figures[state]["cpu_us_per_request"] / plain["cpu_us_per_request"], 3)
    errors = sum(figures[state]["errors"] for state in STATES)
    figures["errors"] = errors
    met = errors == 0 and all((ratios[f"{state}_p99"] or 0) <= MOST_P99 for state in STATES[1:])
    return Report("shadow", figures, ratios, BAR, met)


def show_report(report: Report) -> None:
    rows = []
    for state in STATES:
        f = report.figures[state]
        numbers = (f"{f['p50_ms']:.2f}", f"{f['p99_ms']:.2f}", f"{f['cpu_us_per_request']:.0f}", str(f["errors"]))
        rows.append([state, f"{f['requests']:,}", *numbers])
    columns = ["shadowed side", "requests", "p50 ms", "p99 ms", "CPU µs/request", "errors"]
    show(f"shadow: 100 % of the reads copied, {CLIENTS} clients at a steady pace", columns, rows, report)
