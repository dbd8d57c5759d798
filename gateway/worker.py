"""One worker process: shares the port with its siblings, serves clients, ends with its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from typing import Any

import uvloop

from gateway.accesslog import AccessLog
from gateway.control import link, stored
from gateway.control.table import decode_table
from gateway.core import Gateway
from gateway.errors import TableRefused
from gateway.http1.downstream import Downstream
from gateway.lifeline import watch_parent
from gateway.policies.pins import PinBoard
from gateway.policies.sharing import PinPost
from gateway.settings import Address, Settings

BACKLOG = 2048


def listening_socket(address: Address) -> socket.socket:
    """A socket that the kernel gives its share of the connections of everybody who listens on the same address."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setblocking(False)
    sock.bind((address.host, address.port))
    return sock


def run(settings: Settings, index: int) -> None:
    """Until SIGTERM, or until the parent's end of our standard input closes."""
    uvloop.run(_run(settings, index))


async def _run(settings: Settings, index: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent tells us in order
    watch_parent(stop)
    log = AccessLog(settings.log_sample) if settings.log_sample > 0 else None
    table = stored.load(settings.table_file, settings.table)
    gateway = Gateway(settings, table, open_board(settings), log)
    if settings.shares_pins:
        gateway.sharing = PinPost(gateway.board, settings.pins_socket)
    clock = loop.create_task(gateway.run_clock())
    control = await link.listen(settings.socket(index), lambda message: answer(gateway, message))
    sock = listening_socket(settings.listen)
    server = await loop.create_server(lambda: Downstream(gateway), sock=sock, backlog=BACKLOG)
    # Exchanges free themselves by reference counting; a full collection would only cost the slowest percent its time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await stop.wait()
    server.close()
    await gateway.drain()
    if gateway.sharing is not None:
        await gateway.sharing.close()
    control.close()
    clock.cancel()
    await gateway.close()


def open_board(settings: Settings) -> PinBoard:
    return PinBoard(settings.pins_file, shared=settings.shares_pins, skew=settings.clock_skew)


def answer(gateway: Gateway, message: dict[str, Any]) -> dict[str, Any]:
    """What the admin process asks of a worker."""
    match message.get("do"):
        case "table":
            try:
                gateway.swap(decode_table(message["table"]))
            except TableRefused as error:
                return {"error": str(error), "version": gateway.router.version}
            return {"version": gateway.router.version}
        case "figures":
            return {"pid": os.getpid(), **gateway.snapshot()}
        case "samples":
            return {"samples": list(gateway.shadow.referee.samples)}
        case "watermarks":
            gateway.take_watermarks(message["watermarks"])
            return {}
    return {"error": "unknown question"}
