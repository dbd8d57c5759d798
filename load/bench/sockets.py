"""`banyan bench websocket`: messages through a tunnel, a real library at both ends, many clients at once."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from banyan.errors import ServerMissing
from load.bench.report import Report, show
from load.bench.rig import rig

CLIENTS = 20
WINDOW = 32  # messages that a client has under way
BAR = {"wrong": "0", "lost": "0"}


def run(messages: int, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Raises: ServerMissing without the library."""
    try:
        import websockets  # noqa: F401
    except ImportError:
        raise ServerMissing("the package websockets is missing: install this package with the extra `dev`") from None
    return uvloop.run(_run(messages, tell))


async def _run(messages: int, tell: Callable[[str], None]) -> Report:
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    def health(connection: ServerConnection, request: object) -> object:
        return connection.respond(200, "") if getattr(request, "path", "") == "/health" else None

    async with serve(echo, "127.0.0.1", 0, process_request=health, max_size=None) as server:  # type: ignore[arg-type]
        port = next(iter(server.sockets)).getsockname()[1]
        with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
            made = rig(Path(folder), port, port)
            gateway = await asyncio.to_thread(made.__enter__)
            try:
                before = gateway.resident_mb()
                started = time.monotonic()
                share = -(-messages // CLIENTS)
                url = f"ws://127.0.0.1:{gateway.port}/feed"
                tell(f"{CLIENTS} clients, {share} messages each")
                done = await asyncio.gather(*(_client(url, n, share) for n in range(CLIENTS)))
                seconds = time.monotonic() - started
                grown = gateway.resident_mb() - before
            finally:
                await asyncio.to_thread(made.__exit__, None, None, None)
    echoed, wrong = sum(one[0] for one in done), sum(one[1] for one in done)
    figures = {
        "messages": share * CLIENTS, "echoed": echoed, "wrong": wrong, "lost": share * CLIENTS - echoed,
        "per_s": round(echoed / seconds, 1), "resident_grown_mb": round(grown, 2),
    }  # fmt: skip
    return Report("websocket", figures, {}, BAR, not wrong and not figures["lost"])


async def _client(url: str, number: int, messages: int) -> tuple[int, int]:
    """(messages that came back, those that were not the next one expected)."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    echoed = wrong = 0
    async with connect(url, max_size=None) as connection:
        room = asyncio.Semaphore(WINDOW)

        async def send() -> None:
            for n in range(messages):
                await room.acquire()
                await connection.send(_message(number, n))

        sending = asyncio.create_task(send())
        with contextlib.suppress(ConnectionClosed):
            while echoed < messages:
                wrong += await connection.recv() != _message(number, echoed)
                echoed += 1
                room.release()
        sending.cancel()
    return echoed, wrong


def _message(client: int, number: int) -> str | bytes:
    """Text and binary by turns, of all the lengths that frames have forms for (RFC 6455 §5.2)."""
    text = f"{client}-{number};" * (1, 9, 20, 2000, 1)[number % 5]
    if number % 997 == 996:
        text *= 8000
    return text if number % 2 else text.encode()


def show_report(report: Report) -> None:
    rows = [[name, str(value)] for name, value in report.figures.items()]
    show("websocket: echo through the gateway", ["", ""], rows, report)
