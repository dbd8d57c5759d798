"""The parent: holds the ports, starts the workers and the admin process, starts a dead one again, ends them in order.

SIGTERM and SIGINT end the gateway: what is under way is finished. SIGHUP: certificates and log files are read anew.
SIGUSR2: a new gateway is started beside this one and takes its place (gateway/handover.py).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from gateway.children import Children, replacement
from gateway.control import link, stored
from gateway.errors import HandoverFailed, TlsRefused
from gateway.handover import Offer, TakeOver
from gateway.listening import Listening
from gateway.logfile import LogFile
from gateway.policies.pins import PinBoard
from gateway.settings import Settings
from gateway.tls import server_context

READY_SECONDS = 60.0  # for the processes of a new gateway
LOOK_SECONDS = 0.1

log = structlog.get_logger("gateway.parent")


class Parent:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._replaced = False  # another gateway serves now, from the same folder
        self._upgrade = False  # asked for
        self._hangup = False
        self._successor: subprocess.Popen[bytes] | None = None
        self._yielded = False  # our admin process has ended for a new gateway's
        self._listening = Listening()
        self._children = Children({})
        self._offer: Offer | None = None

    def run(self, *, take_over: bool = False) -> int:
        """Until SIGTERM or SIGINT, or until another gateway takes over.

        Raises: PortTaken, SettingsRefused, TlsRefused; with `take_over` NoPredecessor, HandoverFailed.
        """
        self._check()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, self._on_signal)
        try:
            if take_over:
                self._take_over()
            else:
                self._begin()
            self._serve()
        finally:
            self._end_all()
        return 0

    def _check(self) -> None:
        settings = self._settings
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if settings.tls_certificate is not None and settings.tls_key is not None:
            try:
                server_context(settings.tls_certificate, settings.tls_key)
            except TlsRefused as error:
                raise TlsRefused(f"GATEWAY_TLS_CERT, GATEWAY_TLS_KEY: {error}") from error
        if settings.log_sample > 0:
            LogFile(settings.access_log).close()
        if settings.telemetry is not None:
            from gateway.telemetry.export import refuse_unusable  # brings a large library, for those who want it

            refuse_unusable(settings.telemetry)

    # begin

    def _begin(self) -> None:
        settings = self._settings
        self._listening = Listening.at(settings)
        table = stored.load(settings.table_file, settings.table)
        stored.save(settings.table_file, table)
        PinBoard(settings.pins_file).distrust()  # who wrote a moment ago is still pinned; the rest is of another time
        self._adopt(self._listening.told(settings))
        self._start_admin()
        self._start_workers()
        self._open_for_successors()
        log.info("gateway started", **self._addresses())

    def _adopt(self, settings: Settings) -> None:
        """From here on the ports are known."""
        self._settings = settings
        given = {
            "GATEWAY_LISTEN": settings.listen or "off",
            "GATEWAY_TLS_LISTEN": settings.tls_listen or "",
            "GATEWAY_ADMIN_LISTEN": settings.admin_listen,
            "GATEWAY_GENERATION": settings.generation,
        }
        self._children = Children({**os.environ, **{name: str(value) for name, value in given.items()}})

    def _start_admin(self) -> None:
        fds = [sock.fileno() for sock in self._listening.admin]
        self._children.start("admin", ["admin", "--fd", str(fds[0])], fds)

    def _start_workers(self, *more: str) -> None:
        workers = self._settings.workers
        for index in range(workers):
            plain, tls = ([s.fileno() for s in sockets] for sockets in self._listening.of_worker(index, workers))
            options = [f"--plain={fd}" for fd in plain] + [f"--tls={fd}" for fd in tls]
            self._children.start(f"worker-{index}", ["worker", f"--index={index}", *options, *more], [*plain, *tls])

    def _addresses(self) -> dict[str, Any]:
        settings = self._settings
        tls = {"tls": str(settings.tls_listen)} if settings.tls_listen is not None else {}
        listen = {"listen": str(settings.listen)} if settings.listen is not None else {}
        return {**listen, **tls, "admin": str(settings.admin_listen)}

    def _open_for_successors(self) -> None:
        """From here on this is the gateway of the folder: say where we listen, to those who asked for port 0 too."""
        answers = {"take": self._tell_sockets, "yield": self._yield_admin, "leave": self._leave}
        self._offer = Offer(self._settings.handover_socket, self._listening, answers, self._on_successor_lost)
        path = self._settings.state_dir / "gateway.json"
        path.with_suffix(".tmp").write_bytes(msgspec.json.encode({"pid": os.getpid(), **self._addresses()}))
        path.with_suffix(".tmp").replace(path)

    # serve

    def _serve(self) -> None:
        assert self._offer is not None
        while not self._stopping:
            self._children.mend()
            if self._hangup:
                self._hangup = False
                self._children.signal_workers(signal.SIGHUP)
            if self._upgrade:
                self._upgrade = False
                self._start_successor()
            if self._successor is not None and self._successor.poll() is not None:
                self._successor = None
                log.error("the upgrade failed, this gateway goes on")
                (self._settings.state_dir / "upgrade.failed").touch()
            self._offer.serve(LOOK_SECONDS)

    def _on_signal(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            self._hangup = True
        elif number == signal.SIGUSR2:
            self._upgrade = True
        else:
            self._stopping = True

    # be replaced

    def _start_successor(self) -> None:
        if os.getpid() == 1:
            log.error("not upgraded: a container ends with its first process; replace the container")
        elif self._successor is None:
            self._successor = replacement()

    def _tell_sockets(self) -> dict[str, Any]:
        count = {name: len(getattr(self._listening, name)) for name in ("plain", "tls", "admin")}
        return {"pid": os.getpid(), "generation": self._settings.generation, "sockets": count}

    def _yield_admin(self) -> dict[str, Any]:
        self._children.end(["admin"])
        self._yielded = True
        return {}

    def _leave(self) -> dict[str, Any]:
        assert self._offer is not None
        self._settings.handover_socket.unlink(missing_ok=True)
        self._stopping = self._replaced = True
        log.info("another gateway has taken over, this one finishes what is under way")
        return {}

    def _on_successor_lost(self) -> None:
        if self._replaced:
            return
        log.error("the gateway that was to take over went away, this one goes on")
        if self._yielded:
            self._yielded = False
            self._start_admin()

    # replace

    def _take_over(self) -> None:
        given = self._settings
        link_to_old = TakeOver(given.handover_socket)
        try:
            self._listening, told = link_to_old.take()
            self._listening.suit(given)
            self._adopt(replace(self._listening.told(given), generation=1 - told["generation"]))
            self._start_workers("--waits")
            self._until(self._workers_answer, "its workers")
            link_to_old.ask("yield")
            self._start_admin()
            self._until(self._admin_answers, "its admin process")
            for index in range(self._settings.workers):
                link.ask_now(self._settings.socket(index), {"do": "accept"})
            link_to_old.ask("leave")
        except link.LinkDown as error:
            raise HandoverFailed(f"a new worker went away: {error}") from error
        finally:
            link_to_old.close()
        self._open_for_successors()
        log.info("gateway taken over", from_pid=told["pid"], **self._addresses())

    def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            if dead := self._children.dead():
                raise HandoverFailed(f"{', '.join(dead)} of the new gateway ended; the old one goes on")
            if time.monotonic() > deadline or self._stopping:
                raise HandoverFailed(f"the new gateway did not get ready ({what}); the old one goes on")
            time.sleep(0.05)

    def _workers_answer(self) -> bool:
        try:
            for index in range(self._settings.workers):
                link.ask_now(self._settings.socket(index), {"do": "figures"})
        except link.LinkDown:
            return False
        return True

    def _admin_answers(self) -> bool:
        address = self._settings.admin_listen
        connection = http.client.HTTPConnection(address.host, address.port, timeout=1)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    # end

    def _end_all(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        self._listening.close()  # so that a worker's socket is gone when the worker closes it
        self._children.end(within=self._settings.drain_seconds + 2)
        if self._offer is not None and not self._replaced:
            self._offer.close()
        for index in range(self._settings.workers):
            with contextlib.suppress(OSError):
                self._settings.socket(index).unlink(missing_ok=True)
