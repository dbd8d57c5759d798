"""The drill's own stack: two clusters and two streams in a folder that goes away, reached by nobody else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psycopg

from banyan.errors import ServerFailed
from banyan.servers import Postgres
from banyan.servers.kafka import Kafka
from cdc import streams
from cdc.change import HEARTBEAT, Direction
from cdc.config import Stream, load_mapping
from cdc.emit import EMIT_FLUSHED
from cdc.mapping import Mapping
from load.drill.domains import ARRIVALS, DESK, LEGACY, SERVICE, SHOP

# Since only processes are killed, not the machine, what was written to the kernel stays: fsync would only cost time.
SETTINGS = {"fsync": "off", "max_connections": "60"}
# Until a server or a stream is back after a kill, seconds.
BACK = 120.0


class DrillError(Exception):
    """What should have come back did not, or ended by itself."""


class Victim(Protocol):
    """Whatever can be killed and comes back."""

    @property
    def name(self) -> str: ...
    def kill(self) -> None: ...
    def restore(self) -> None: ...


@dataclass
class StreamProcess:
    """`python -m cdc run` of one stream."""

    stream: Stream
    source: str
    target: str
    mapping: Mapping
    file: Path
    more: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"stream {self.stream.name}"

    def start(self) -> None:
        home = {"BANYAN_HOME": str(self.file.parent), "PYTHONFAULTHANDLER": "1"}  # not the user's
        env = {**os.environ, "SOURCE_DSN": self.source, "TARGET_DSN": self.target, **home, **self.more}
        log = self.file.with_suffix(".log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cdc", "run", "--stream", str(self.file)],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self.process is not None
        self.require_alive()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    restore = start

    def require_alive(self) -> None:
        """A stream survives the death of either database. Raises: DrillError."""
        if self.process is not None and self.process.poll() not in (None, -signal.SIGKILL):
            code, words = self.process.returncode, "\n".join(self._said(20))
            raise DrillError(f"{self.name} ended by itself with {code}; its last words:\n{words}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def caught_up(self, timeout: float = BACK) -> float:
        """Until all that the source holds now is in the target; how long it took, seconds. Raises: DrillError."""
        began = time.monotonic()
        lsn = one(self.source, "SELECT pg_current_wal_insert_lsn()")
        passed = "SELECT source_lsn >= %s::pg_lsn FROM banyan.stream WHERE stream = %s"

        def there() -> Any:
            self.require_alive()
            one(self.source, EMIT_FLUSHED, [HEARTBEAT])
            return one(self.target, passed, [lsn, self.stream.name])

        try:
            until(there, f"{self.name} to catch up", timeout)
        except DrillError as e:
            raise DrillError(f"{e}; its last words:\n" + "\n".join(self._said(20))) from e
        return time.monotonic() - began

    def _said(self, lines: int) -> list[str]:
        return self.file.with_suffix(".log").read_text(errors="replace").splitlines()[-lines:]


@dataclass(frozen=True)
class Relay:
    """The producer's half of a stream through Kafka, which its consumer starts anew."""

    of: StreamProcess

    @property
    def name(self) -> str:
        return f"relay {self.of.stream.name}"

    def kill(self) -> None:
        """If there is one: its consumer may have been killed, or have just started."""
        assert self.of.process is not None
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{self.of.process.pid}/task").glob("*/children"):
                for child in thread.read_text().split():
                    if b"relay" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                        os.kill(int(child), signal.SIGKILL)

    def restore(self) -> None:
        """Nothing to do."""


@dataclass
class Broker:
    """Kafka, killed in the middle of its work: what it has acknowledged is in the kernel's hands."""

    server: Kafka
    name: str = "kafka"

    def kill(self) -> None:
        self.server.kill()

    def restore(self) -> None:
        try:
            self.server.start(BACK)
        except ServerFailed as e:
            raise DrillError(str(e)) from e


@dataclass
class Cluster:
    """A whole PostgreSQL, killed with all its processes."""

    name: str
    server: Postgres

    def kill(self) -> None:
        """None of them gets to say goodbye, or to write what it still holds."""
        pid = int((self.server.data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        assert self.server.process is not None
        self.server.process.wait(10)

    def restore(self) -> None:
        until(self._started, f"PostgreSQL of {self.name} to start again", BACK)

    def _started(self) -> bool:
        """The killed ones' shared memory may be in use for a moment."""
        try:
            self.server.start(BACK)
        except ServerFailed:
            return False
        return True


@dataclass
class World:
    """`kafka`: the broker that the desk's stream goes through, the shop's is direct; None: both are."""

    folder: Path
    kafka: Kafka | None = None
    legacy: Cluster = field(init=False)
    service: Cluster = field(init=False)
    streams: list[StreamProcess] = field(default_factory=list)

    def start(self) -> None:
        """Empty tables on both sides, streams prepared, not running. Raises: ServerMissing, ServerFailed."""
        if self.kafka is not None:
            self.kafka.start()
        self.legacy, self.service = self._cluster("legacy"), self._cluster("service")
        execute(self.legacy_dsn, LEGACY + ARRIVALS.format(table="task"))
        execute(self.service_dsn, SERVICE + ARRIVALS.format(table="product"))
        self._prepare("shop", "forward", SHOP, self.legacy_dsn, self.service_dsn)
        self._prepare("desk", "reverse", DESK, self.service_dsn, self.legacy_dsn)

    @property
    def victims(self) -> list[Victim]:
        """Whatever can be killed and comes back. A broker that keeps nothing on disk is left alone."""
        found: list[Victim] = [*self.streams, self.legacy, self.service]
        if self.kafka is not None:
            found += [Relay(process) for process in self.streams if process.stream.transport == "kafka"]
            found += [Broker(self.kafka)] if self.kafka.own and self.kafka.durable else []
        return found

    @property
    def legacy_dsn(self) -> str:
        return self.legacy.server.dsn("drill")

    @property
    def service_dsn(self) -> str:
        return self.service.server.dsn("drill")

    def stop(self) -> None:
        for process in self.streams:
            process.stop()
        if self.kafka is not None:
            self.kafka.stop()
        for name in ("legacy", "service"):
            if (cluster := getattr(self, name, None)) is not None:
                cluster.server.stop()

    def _cluster(self, name: str) -> Cluster:
        server = Postgres(data=self.folder / name, log=self.folder / f"{name}.log", settings=SETTINGS).start()
        execute(server.dsn(), "CREATE DATABASE drill")
        return Cluster(name, server)

    def _prepare(self, domain: str, direction: Direction, mapping: str, source: str, target: str) -> None:
        path = self.folder / f"{domain}.yaml"
        path.write_text(mapping)
        slot = f"drill_{domain}_{direction}"
        described = {
            "name": f"{domain}.{direction}", "domain": domain, "direction": direction,
            "source_dsn_env": "SOURCE_DSN", "target_dsn_env": "TARGET_DSN", "slot": slot, "publication": slot,
            "origin": slot, "snapshot": direction == "forward", "mapping": str(path),
        }  # fmt: skip
        if self.kafka is not None and domain == "desk":
            described |= {"transport": "kafka", "kafka": {"prefix": "drill.desk"}}
        file = self.folder / f"{domain}.{direction}.json"
        file.write_text(json.dumps(described))
        stream = msgspec.convert(described, Stream)
        streams.prepare(stream, source, target)
        more = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap} if self.kafka is not None else {}
        self.streams.append(StreamProcess(stream, source, target, load_mapping(stream), file, more))


def until(condition: Callable[[], Any], what: str, timeout: float) -> None:
    """Raises: DrillError. A database that is away is no answer yet."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise DrillError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


def execute(dsn: str, query: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(query)


def one(dsn: str, query: str, parameters: Any = None) -> Any:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        row = connection.execute(query, parameters).fetchone()
    return row[0] if row is not None else None
