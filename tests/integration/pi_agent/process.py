"""Agents as processes, for tests of the whole program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.pi_agent.server import TOKEN


class AgentProcess:
    """A configuration folder, and the processes that run on it one after the other."""

    def __init__(self, folder: Path, gateway_url: str, flags_url: str | None = None, **more: Any) -> None:
        self.folder = folder
        identity = {"device_id": 17, "token": TOKEN}
        timing = {name: value for name, value in more.items() if name not in identity}
        identity |= {name: value for name, value in more.items() if name in identity}
        (folder / "token").touch(0o600)
        (folder / "token").write_text(identity["token"])
        quick = {
            "poll_s": 0.2,
            "flags_s": 0.2,
            "control_s": 0.1,
            "backoff_base_s": 0.1,
            "backoff_cap_s": 0.3,
            "request_timeout_s": 2,
        }
        quick |= {"v2_retreat_s": 60.0, "v2_retreat_cap_s": 60.0, "trial_pause_s": 0.1, "ack_spread_s": 0, **timing}
        lines = [
            f"device_id = {identity['device_id']}",
            'token_file = "token"',
            f'gateway_url = "{gateway_url}"',
            'state_dir = "state"',
        ]
        lines += [f'flags_url = "{flags_url}"'] if flags_url else []
        lines += ["[timing]", *(f"{name} = {value}" for name, value in quick.items())]
        lines += ["[battery]", 'trace = "trace.jsonl"']
        self.config = folder / "agent.toml"
        self.config.write_text("\n".join(lines))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, crash_at: str | None = None, **environment: str) -> AgentProcess:
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")} | environment
        env |= {"PI_AGENT_CRASH_AT": crash_at} if crash_at else {}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pi_agent", "run", "--config", str(self.config)], stdout=log, stderr=log, env=env
            )
        return self

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "state" / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def trace(self) -> list[dict[str, Any]]:
        path = self.folder / "trace.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.02)


#: Makes an agent: gateway, flags or None, then seconds of its configuration, device_id and token by name.
Make = Callable[..., AgentProcess]
