"""One child process: started in its own session, ended by its pid, never outliving its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent(number: signal.Signals) -> None:
    """Runs in the child: get `number` when the thread that started it ends, however it ends (Linux only)."""
    with contextlib.suppress(AttributeError, OSError):
        _libc.prctl(_PR_SET_PDEATHSIG, number)


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run and how to know that it serves."""

    name: str
    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_url: str | None = None
    ready: Callable[[], bool] | None = None  # where no URL tells
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    server: bool = False  # what the others need: stopped after them
    standard_input: bytes | None = None
    start_seconds: float = 40.0


@dataclass(slots=True)
class Child:
    """A started Spec."""

    spec: Spec
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal_group(self, number: signal.Signals) -> None:
        """To the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Ask, wait, then insist; whatever of its group is left is killed."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(self.spec.stop_signal)
            try:
                self.process.wait(self.spec.stop_seconds)
            except subprocess.TimeoutExpired:
                self.signal_group(signal.SIGKILL)
                self.process.wait(5)
        self.signal_group(signal.SIGKILL)


def start(spec: Spec, log: Path) -> Child:
    """Start `spec` with just its own variables, PATH and HOME; both output streams go to `log`."""
    base = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if name in os.environ
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            spec.command,
            env={**base, "PYTHONUNBUFFERED": "1", **spec.env},
            stdin=subprocess.DEVNULL if spec.standard_input is None else subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: _die_with_parent(spec.stop_signal),
        )
    if spec.standard_input is not None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(spec.standard_input)
            process.stdin.close()
    return Child(spec, process)
