"""A console as the stack runs it, in a process of its own, fed by played components."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from banyan.servers.ports import free_port
from tests.integration.console.players import TOKEN

ROOT = Path(__file__).resolve().parents[3]
DOMAINS = ("PRICING", "DEVICES", "NOTIFICATIONS")


def environment(components: str, domains: tuple[str, ...] = DOMAINS, **more: str) -> dict[str, str]:
    """Everything played by one server at the URL `components`."""
    env = {
        "BANYAN_GATEWAY_ADMIN_URL": components, "GATEWAY_ADMIN_TOKEN": TOKEN, "BANYAN_LEGACY_URL": components,
        **{f"BANYAN_{d}_URL": components for d in domains},
        **{f"BANYAN_CDC_{d}_{w}_URL": f"{components}/stream" for d in domains for w in ("FORWARD", "REVERSE")},
    }  # fmt: skip
    return env | more


@contextlib.contextmanager
def running_console(env: dict[str, str]) -> Iterator[str]:
    """Started with the stack's command line; yields its URL when it is ready. It must end within 5 s of SIGTERM."""
    port = free_port()
    granian = str(Path(sys.executable).parent / "granian")
    command = [
        granian, "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--log-level",
        "warning", "console.app:app",
    ]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BANYAN_", "GATEWAY_"))}
    process = subprocess.Popen(command, cwd=ROOT, env={**kept, **env}, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/readyz"), "the console to be ready", process=process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError("the console did not end within 5 s of SIGTERM") from None


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float = 20.0, process: subprocess.Popen[bytes] | None = None
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the console ended by itself"
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.05)
