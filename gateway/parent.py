"""The parent: takes the port, starts the workers and the admin process, starts a dead one again, ends them in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import structlog

from gateway.control import stored
from gateway.errors import PortTaken
from gateway.policies.pins import PinBoard
from gateway.settings import Address, Settings
from gateway.worker import listening_socket

QUICK_DEATH_SECONDS = 1.0
LONGEST_BACKOFF = 5.0

log = structlog.get_logger("gateway.parent")


@dataclass(slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    started: float
    backoff: float = 0.0
    again_at: float | None = None  # when it is dead: the time to start it again


class Parent:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._children: dict[str, Child] = {}
        self._reserved: list[socket.socket] = []

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Raises: PortTaken, SettingsRefused."""
        self._prepare()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for name in ("admin", *(f"worker-{index}" for index in range(self._settings.workers))):
                self._children[name] = self._start(name)
            log.info("gateway started", listen=str(self._settings.listen), admin=str(self._settings.admin_listen))
            while not self._stopping:
                self._mend()
                time.sleep(0.1)
        finally:
            self._end_all()
        return 0

    def _prepare(self) -> None:
        settings = self._settings
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        listen = self._reserve(settings.listen, "GATEWAY_LISTEN")
        admin = free_address(settings.admin_listen, "GATEWAY_ADMIN_LISTEN")
        table = stored.load(settings.table_file, settings.table)
        stored.save(settings.table_file, table)
        PinBoard(settings.pins_file).distrust()  # who wrote a moment ago is still pinned; the rest is of another time
        self._settings = replace(settings, listen=listen, admin_listen=admin)
        self._write_addresses()

    def _reserve(self, address: Address, name: str) -> Address:
        """Hold the port for the workers without listening on it ourselves."""
        free = free_address(address, name)
        self._reserved.append(listening_socket(free))
        return free

    def _write_addresses(self) -> None:
        """Where we listen, for those who asked for port 0."""
        told = {"pid": os.getpid(), "listen": str(self._settings.listen), "admin": str(self._settings.admin_listen)}
        path = self._settings.state_dir / "gateway.json"
        path.with_suffix(".tmp").write_bytes(msgspec.json.encode(told))
        path.with_suffix(".tmp").replace(path)

    def _start(self, name: str) -> Child:
        arguments = ["admin"] if name == "admin" else ["worker", "--index", name.rpartition("-")[2]]
        environment = {
            **os.environ,
            "GATEWAY_LISTEN": str(self._settings.listen),
            "GATEWAY_ADMIN_LISTEN": str(self._settings.admin_listen),
        }
        command = [sys.executable, "-m", "gateway", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # stdin: see gateway/lifeline.py
        return Child(name, process, time.monotonic())

    def _mend(self) -> None:
        now = time.monotonic()
        for name, child in self._children.items():
            if child.again_at is None:
                code = child.process.poll()
                if code is None:
                    continue
                quick = now - child.started < QUICK_DEATH_SECONDS
                child.backoff = min(max(child.backoff * 2, 0.2), LONGEST_BACKOFF) if quick else 0.0
                child.again_at = now + child.backoff
                log.error("a process of the gateway ended, starting it again", process=name, exit_code=code)
            if now >= child.again_at:
                fresh = self._start(name)
                fresh.backoff = child.backoff
                self._children[name] = fresh

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _end_all(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        running = [child.process for child in self._children.values()]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._settings.drain_seconds + 2
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reserved in self._reserved:
            reserved.close()
        for index in range(self._settings.workers):
            Path(self._settings.socket(index)).unlink(missing_ok=True)


def free_address(address: Address, name: str) -> Address:
    """The address with a real port. Raises: PortTaken.

    Asked without SO_REUSEPORT: with it a second gateway would silently take a share of the first one's connections.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            message = f"cannot listen on {address} ({error.strerror}): end what listens there, or set {name}"
            raise PortTaken(message) from error
        return Address(address.host, probe.getsockname()[1])
