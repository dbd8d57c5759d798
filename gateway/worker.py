"""One worker process: serves clients on the sockets that its parent gave it, ends with its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Sequence
from typing import Any

import uvloop

from gateway.accesslog import AccessLog
from gateway.control import link, stored
from gateway.control.table import decode_checked
from gateway.core import Gateway
from gateway.errors import TableRefused
from gateway.http1.downstream import Downstream
from gateway.lifeline import watch_parent
from gateway.listening import Listener
from gateway.logfile import LogFile
from gateway.policies.owners import Owners
from gateway.policies.pins import PinBoard
from gateway.policies.sharing import PinPost
from gateway.settings import Settings
from gateway.tail.listeners import Tail
from gateway.tls import Watched, listener_tls

CERTIFICATE_SECONDS = 1.0  # between two looks at the files
SECONDS_TO_SHAKE_HANDS = 0.5  # for TLS connections that nobody counts yet


def run(settings: Settings, index: int, plain: Sequence[int], tls: Sequence[int], *, waits: bool) -> None:
    """Until SIGTERM, or until the parent's end of our standard input closes.

    `plain`, `tls`: file descriptors of listening sockets. `waits`: accept only when the parent says so.
    """
    uvloop.run(Worker(settings, index, waits).run(plain, tls))


class Worker:
    def __init__(self, settings: Settings, index: int, waits: bool) -> None:
        self._settings = settings
        self._index = index
        self._file = LogFile(settings.access_log) if settings.log_sample > 0 else None
        self._log = AccessLog(settings.log_sample, self._file.write) if self._file is not None else None
        self._tls: Watched | None = None
        self._listeners: list[Listener] = []
        self._may_accept = asyncio.Event()
        if not waits:
            self._may_accept.set()

    async def run(self, plain: Sequence[int], tls: Sequence[int]) -> None:
        settings = self._settings
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent tells us in order
        watch_parent(stop)
        table = stored.load(settings.table_file, settings.table)
        owners = Owners(settings.owners_file, alone=not settings.shares_pins)
        gateway = self._gateway = Gateway(settings, table, open_board(settings), self._log, owners)
        if settings.telemetry is not None:
            from gateway.telemetry.export import tracer  # brings a large library, for those who want it

            gateway.trace_with(tracer(settings.telemetry))
        if settings.shares_pins:
            gateway.sharing = PinPost(gateway.board, settings.pins_socket)
        if tls and settings.tls_certificate is not None and settings.tls_key is not None:
            self._tls = listener_tls(settings.tls_certificate, settings.tls_key)

        def client() -> Downstream:
            return Downstream(gateway)

        self._listeners = [Listener(fd, client, loop) for fd in plain]
        self._listeners += [Listener(fd, client, loop, self._tls) for fd in tls]
        tasks = [loop.create_task(gateway.run_clock()), loop.create_task(self._watch_certificates())]
        tail = Tail(gateway)
        control = await link.listen(
            settings.socket(self._index),
            self._answer,
            lambda message: tail.subscribe(message) if message.get("do") == "tail" else None,
        )
        # Exchanges free themselves by reference counting; a full collection would only cost the slowest percent time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        accepting = loop.create_task(self._accept())
        await stop.wait()
        accepting.cancel()
        for listener in self._listeners:
            await listener.close()
        await gateway.drain(at_least=SECONDS_TO_SHAKE_HANDS if self._tls is not None else 0.0)
        if gateway.sharing is not None:
            await gateway.sharing.close()
        control.close()
        for task in tasks:
            task.cancel()
        await gateway.close()

    async def _accept(self) -> None:
        await self._may_accept.wait()
        for listener in self._listeners:
            await listener.open()

    def _on_hangup(self) -> None:
        """SIGHUP: new files may be there."""
        if self._file is not None:
            self._file.reopen()
        asyncio.get_running_loop().create_task(self._look_at_certificates(anyway=True))

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            await self._look_at_certificates()

    async def _look_at_certificates(self, *, anyway: bool = False) -> None:
        for watched in self._gateway.upstreams.tls.values():
            watched.refresh(anyway=anyway)
        if self._tls is not None and self._tls.refresh(anyway=anyway) and self._may_accept.is_set():
            for listener in self._listeners:
                await listener.open()

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("do") == "accept":
            self._may_accept.set()
            return {}
        answer_of = answer(self._gateway, message)
        if message.get("do") == "figures":
            watched = [*self._gateway.upstreams.tls.values(), *([self._tls] if self._tls is not None else [])]
            answer_of["tls"] = [one.figures() for one in watched]
        return answer_of


def open_board(settings: Settings) -> PinBoard:
    return PinBoard(settings.pins_file, shared=settings.shares_pins, skew=settings.clock_skew)


def answer(gateway: Gateway, message: dict[str, Any]) -> dict[str, Any]:
    """What the admin process asks of a worker."""
    match message.get("do"):
        case "table":
            try:
                gateway.swap(decode_checked(message["table"]))
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
