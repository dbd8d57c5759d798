"""What the command line asks of a gateway that runs on this machine."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import msgspec

from gateway.errors import HandoverFailed, NoPredecessor
from gateway.parent import READY_SECONDS
from gateway.settings import Settings


def running(settings: Settings) -> int:
    """The pid of the parent that serves. Raises: NoPredecessor."""
    try:
        pid = int(msgspec.json.decode((settings.state_dir / "gateway.json").read_bytes())["pid"])
        os.kill(pid, 0)
    except (OSError, msgspec.DecodeError, KeyError, ValueError) as error:
        raise NoPredecessor(f"no gateway runs with the state folder {settings.state_dir}") from error
    return pid


def upgrade(settings: Settings) -> tuple[int, int]:
    """Replace the running gateway; (old pid, new pid). Raises: NoPredecessor, HandoverFailed."""
    old = running(settings)
    failed = settings.state_dir / "upgrade.failed"
    failed.unlink(missing_ok=True)
    os.kill(old, signal.SIGUSR2)
    deadline = time.monotonic() + 2 * READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(NoPredecessor):  # between the last moment of the one and the first of the other
            if (new := running(settings)) != old:
                return old, new
        if failed.exists():
            raise HandoverFailed(f"the new gateway did not get ready, its log says why; the one with pid {old} goes on")
        time.sleep(0.05)
    raise HandoverFailed(f"nothing came of it in {2 * READY_SECONDS:g} s; the gateway with pid {old} goes on")
