"""What a proxy costs when little happens: memory of idle connections, and time added to a single request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway.control import link
from gateway.settings import Settings
from load.bench import wrk
from load.bench.contestants import Running
from load.bench.rig import files_allowed

IDLE = 3000  # enough that what the start has left free in the heap does not hide them
TURNS = 3


def idle_kb(running: Running) -> float:
    """Resident memory per connection that was used once and is kept, in kB."""
    files_allowed(IDLE + 500)
    address = urlsplit(running.url)
    request = f"GET {address.path} HTTP/1.1\r\nHost: a\r\nX-Client-Id: 1\r\n\r\n".encode()
    before = running.resident_mb()
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            sock = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 80)))
            sock.sendall(request)
            _read_answer(sock)
        return (running.resident_mb() - before) * 1e3 / IDLE


def _read_answer(sock: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = data.lower().partition(b"\r\n\r\n")
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)


def added_ms(direct: Running, running: Sequence[Running], script: Path, pin: Sequence[str]) -> dict[str, float]:
    """Median milliseconds that each adds to a request when there is only one at a time."""
    taken: dict[str, list[float]] = {one.name: [] for one in (direct, *running)}
    for turn in range(TURNS):
        for one in (direct, *running) if turn % 2 == 0 else (*reversed(running), direct):
            taken[one.name].append(wrk.run(one.url, script, 1, connections=1, pin=pin).p50_ms)
    base = statistics.median(taken[direct.name])
    return {one.name: round(statistics.median(taken[one.name]) - base, 4) for one in running}


def copies(state: Path) -> dict[str, int]:
    """How many of the copies that a gateway made were compared, and how many dropped because too many waited."""
    figures = asyncio.run(link.ask(Settings(state_dir=state).socket(0), {"do": "figures"}))
    counted = {event["event"]: int(event["count"]) for event in figures["events"]}
    return {"compared": counted.get("shadow_compared", 0), "dropped": counted.get("shadow_dropped", 0)}
