"""Where the local stack keeps its things: `./.banyan`, or the folder that BANYAN_HOME names."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from banyan.errors import StackError


class Running(msgspec.Struct, frozen=True):
    """What a running stack says of itself in `stack.json`."""

    pid: int
    gateway: str
    console: str
    ready: bool
    processes: dict[str, int]  # name → pid
    restarts: dict[str, int] = {}  # name → how often it fell and was started again; has every process
    workers: int = 1  # of the gateway

    @property
    def agents(self) -> int:
        return sum(name.startswith("agent-") for name in self.restarts)


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one stack."""

    path: Path

    @classmethod
    def default(cls) -> Home:
        return cls(Path(os.environ.get("BANYAN_HOME", ".banyan")).resolve())

    @property
    def env_file(self) -> Path:
        return self.path / "env"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def streams(self) -> Path:
        return self.path / "streams"

    @property
    def state_file(self) -> Path:
        return self.path / "stack.json"

    @property
    def demo_mark(self) -> Path:
        """There when the folder was made by `banyan demo`, which may throw it away."""
        return self.path / "made-by-demo"

    def create(self) -> None:
        """Raises: StackError when this user cannot make or use it."""
        try:
            for folder in (self.path, self.logs, self.streams):
                folder.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o755)
        except OSError as error:
            raise StackError(
                f"cannot keep a stack in {self.path}: {error.strerror}: set BANYAN_HOME to one of your own"
            ) from None

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def kept(self) -> str | None:
        """What a purge throws away, in words; None when no stack has left anything here."""
        if not self.env_file.exists():
            return None
        whose = "the demonstration" if self.demo_mark.exists() else "`banyan up`"
        size = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):  # a running stack makes and removes files
                    size += (Path(folder) / name).lstat().st_size
        return f"the data of {whose} in {self.path} ({size / 2**20:.0f} MiB)"

    def purge(self) -> None:
        """Raises: StackError when the folder is not a stack's, or does not go."""
        if not self.path.exists():
            return
        self._require_a_stacks()
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise StackError(f"cannot remove all of {self.path}: {error.strerror}: remove the rest by hand") from None

    def _require_a_stacks(self) -> None:
        if not (self.path / "lock").exists() and {p.name for p in self.path.iterdir()} - {"log", "streams", "env"}:
            raise StackError(f"{self.path} is not a stack's folder, so it stays: set BANYAN_HOME to another one")

    def require_usable(self, *, purge: bool = False) -> None:
        """What `create` (and `purge`) would say, found out without making anything. Raises: StackError."""
        there = self.nearest
        if not there.is_dir() or not os.access(there, os.W_OK):
            why = "it cannot be written to" if there.is_dir() else f"{there} is no folder"
            raise StackError(f"cannot keep a stack in {self.path}: {why}: set BANYAN_HOME to one of your own")
        if purge and self.path.exists():
            self._require_a_stacks()

    @property
    def nearest(self) -> Path:
        """The folder, or the one that it would be made in."""
        return next(path for path in (self.path, *self.path.parents) if path.exists())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held for as long as a stack runs here; the kernel lets go of it however the holder ends.

        Raises: StackError when another process has it.
        """
        self.create()
        with (self.path / "lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"a stack is already running in {self.path}: see `banyan doctor`, or stop it with `banyan down`"
                ) from None
            self.state_file.unlink(missing_ok=True)  # of a stack that was killed
            yield

    def is_locked(self) -> bool:
        if not (self.path / "lock").exists():
            return False
        with (self.path / "lock").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def running(self) -> Running | None:
        """The stack that runs here now, if any; a state file that a kill left behind does not count."""
        if not self.is_locked() or not self.state_file.exists():
            return None
        try:
            state = msgspec.json.decode(self.state_file.read_bytes(), type=Running)
            os.kill(state.pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return None
        return state

    def write_state(self, state: Running) -> None:
        temporary = self.state_file.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(state))
        temporary.replace(self.state_file)
