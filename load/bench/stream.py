"""`banyan bench stream`: large bodies both ways, by length and chunked, to slow readers: the gateway's memory stays.

Client and server share this process, so it is known at every moment how far the one that sends is ahead of the one that
reads; what lies between is in the gateway or in the kernel's socket buffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from load.bench.report import Report, show
from load.bench.rig import Rig, rig

PIECE = bytes(range(256)) * 256  # 64 KiB
BAR = {"grown_mb": "< 32"}
MOST_GROWN_MB = 32.0
SAMPLE_SECONDS = 0.02
STOP_SECONDS = 1.0  # in the middle the reader takes nothing for so long


@dataclass(slots=True)
class Passage:
    """One body on its way."""

    size: int
    chunked: bool
    sent: int = 0
    read: int = 0
    most_ahead: int = 0
    intact: bool = True

    async def write(self, writer: asyncio.StreamWriter) -> None:
        while self.sent < self.size:
            piece = PIECE[: self.size - self.sent]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece)
            await writer.drain()
            self.sent += len(piece)
            self.most_ahead = max(self.most_ahead, self.sent - self.read)
        if self.chunked:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def take(self, reader: asyncio.StreamReader) -> None:
        """Slower than it could be sent, with a long stop in the middle."""
        stopped = False
        async for piece in self._pieces(reader):
            at = self.read % 256
            self.intact &= piece[:1] == PIECE[at : at + 1] and piece[-1] == (at + len(piece) - 1) % 256
            self.read += len(piece)
            await asyncio.sleep(0)
            if not stopped and self.read > self.size // 2:
                stopped = True
                await asyncio.sleep(STOP_SECONDS)

    async def _pieces(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        if not self.chunked:
            while self.read < self.size:
                piece = await reader.read(min(len(PIECE), self.size - self.read))
                if not piece:
                    raise ConnectionError("the body ended too soon")
                yield piece
            return
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")

    @property
    def framing(self) -> str:
        return "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {self.size}"


@dataclass
class Server:
    """Reads or writes the passage that is under way."""

    passage: Passage | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                passage = self.passage
                if head.startswith("GET /health") or passage is None:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                elif head.startswith("PUT"):
                    await passage.take(reader)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                else:
                    writer.write(f"HTTP/1.1 200 OK\r\n{passage.framing}\r\n\r\n".encode())
                    await passage.write(writer)
                await writer.drain()
        writer.close()


async def upload(port: int, server: Server, passage: Passage) -> None:
    server.passage = passage
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"PUT /items/1 HTTP/1.1\r\nHost: a\r\n{passage.framing}\r\n\r\n".encode())
    await passage.write(writer)
    assert b" 200 " in await reader.readline()
    writer.close()


async def download(port: int, server: Server, passage: Passage) -> None:
    server.passage = passage
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /items HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    await passage.take(reader)
    writer.close()


COURSES = {
    "upload, length": (upload, False), "upload, chunked": (upload, True),
    "download, length": (download, False), "download, chunked": (download, True),
}  # fmt: skip


async def _measure(gateway: Rig, server: Server, name: str, size: int) -> dict[str, float]:
    travel, chunked = COURSES[name]
    before = most = gateway.resident_mb()
    passage = Passage(size, chunked)
    started = time.monotonic()
    task = asyncio.create_task(travel(gateway.port, server, passage))
    while not task.done():
        await asyncio.wait([task], timeout=SAMPLE_SECONDS)
        most = max(most, gateway.resident_mb())
    await task
    assert passage.read == size, f"{name}: the body did not arrive whole"
    assert passage.intact, f"{name}: the body did not arrive as it was sent"
    return {
        "grown_mb": round(most - before, 2),
        "most_ahead_mb": round(passage.most_ahead / 1e6, 2),
        "mb_per_s": round(size / 1e6 / (time.monotonic() - started), 1),
    }


def run(mib: int, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`mib` of body for each of the four. Raises: AssertionError when a body is not what was sent."""
    return uvloop.run(_run(mib << 20, tell))


async def _run(size: int, tell: Callable[[str], None]) -> Report:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 17)
    port = listening.sockets[0].getsockname()[1]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        async with _rig(Path(folder), port, size) as gateway:
            for name in COURSES:
                tell(name)
                figures[name] = await _measure(gateway, server, name, size)
    listening.close()
    met = all(course["grown_mb"] < MOST_GROWN_MB for course in figures.values())
    return Report("stream", {"mib": size >> 20, **figures}, {}, BAR, met)


@contextlib.asynccontextmanager
async def _rig(folder: Path, port: int, size: int) -> AsyncIterator[Rig]:
    """Started and ended in a thread: it waits for processes that ask this one for their health."""
    made = rig(folder, port, port, GATEWAY_MAX_BODY=str(size))
    gateway = await asyncio.to_thread(made.__enter__)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


def show_report(report: Report) -> None:
    columns = ["", "memory grown MB", "most ahead MB", "MB/s"]
    rows = [
        [name, *(f"{value:.1f}" for value in course.values())]
        for name, course in report.figures.items()
        if isinstance(course, dict)
    ]
    show(f"stream: {report.figures['mib']} MiB through one worker to a slow reader", columns, rows, report)
