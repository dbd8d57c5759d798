"""The admin process: granian serves the API in the same event loop that keeps the node."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any

import structlog
from granian._granian import SocketHolder
from granian.constants import Interfaces
from granian.server.embed import Server

from gateway.control.api import make_app
from gateway.control.node import Node
from gateway.control.roles import Tokens
from gateway.lifeline import watch_parent
from gateway.settings import Settings

GOODBYE_SECONDS = 1.0  # for answers under way

log = structlog.get_logger("gateway.admin")


class _Inheriting(Server):
    """Serves on a socket that it was given."""

    fd = 0

    def _init_shared_socket(self) -> None:
        self._shd: Any = SocketHolder(self.fd, False, 128)  # type: ignore[call-arg]


def run(settings: Settings, fd: int) -> None:
    """Until SIGTERM, or until the parent is gone. Does not return."""
    code = 1
    try:
        code = asyncio.new_event_loop().run_until_complete(_run(settings, fd))
    except Exception:
        log.exception("the admin process failed")
    # Nothing here needs an orderly end: tables and audit are on disk before they are answered. So neither a client that
    # keeps its connection nor a library that swallows a cancellation can keep this process alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _run(settings: Settings, fd: int) -> int:
    logging.getLogger("_granian").setLevel(logging.WARNING)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(stop)
    node = Node(settings)
    server = _Inheriting(
        make_app(node, Tokens(settings.admin_token, settings.viewer_token, settings.admin_tokens)),
        address=settings.admin_listen.host,
        port=settings.admin_listen.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
        websockets=False,
    )
    server.fd = fd
    serving = loop.create_task(server.serve())
    keeping = loop.create_task(node.run())
    stopping = loop.create_task(stop.wait())
    done, _ = await asyncio.wait({serving, keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    keeping.cancel()
    # Other nodes hear of the last writes of the workers, which may still be at work, through us.
    patience = settings.drain_seconds if settings.shares_pins else 0
    await asyncio.wait({keeping}, timeout=patience + GOODBYE_SECONDS)
    await asyncio.wait({serving}, timeout=GOODBYE_SECONDS)
    for task in done - {stopping}:
        task.result()  # an unexpected end is told, and the parent starts us again
    return 0 if stopping in done else 1
