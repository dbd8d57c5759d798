"""The admin process: granian serves the API in the same event loop that keeps the node."""

from __future__ import annotations

import asyncio
import logging
import signal

from granian.constants import Interfaces
from granian.server.embed import Server

from gateway.control.api import make_app
from gateway.control.node import Node
from gateway.lifeline import watch_parent
from gateway.settings import Settings


def run(settings: Settings) -> None:
    """Until SIGTERM, or until the parent is gone."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    logging.getLogger("_granian").setLevel(logging.WARNING)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(stop)
    node = Node(settings)
    server = Server(
        make_app(node, settings.admin_token),
        address=settings.admin_listen.host,
        port=settings.admin_listen.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
        websockets=False,
    )
    serving = loop.create_task(server.serve())
    keeping = loop.create_task(node.run())
    stopping = loop.create_task(stop.wait())
    done, _ = await asyncio.wait({serving, keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    keeping.cancel()
    stopping.cancel()
    await asyncio.gather(serving, keeping, stopping, return_exceptions=True)
    if node.spread is not None:
        await node.spread.close()
    for task in done - {stopping}:
        task.result()  # an unexpected end is told, and the parent starts us again
