"""`banyan bench switch` on a stack of its own: what it prints, and that nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

COMMAND = [sys.executable, "-m", "banyan.cli", "bench", "switch", "--turns", "1", "--rate", "60", "--json"]


def processes_of(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.long  # starts a whole stack twice
@pytest.mark.timeout(300)
def test_a_switch_and_a_rollback_lose_nothing_and_ctrl_c_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="bsw-", dir="/tmp") as name:  # a socket's path must be short
        _measure_and_interrupt(Path(name))


def _measure_and_interrupt(folder: Path) -> None:
    env = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(COMMAND, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    figures = report["figures"]
    assert (report["bench"], figures["switches"], figures["rollbacks"]) == ("switch", 1, 1)
    assert (figures["failed"], figures["lost"], figures["doubled"]) == (0, 0, 0)
    assert 0 < figures["pause_p50_ms"] <= figures["pause_p99_ms"] < 1000
    assert figures["audited"] > 0
    assert list(folder.iterdir()) == []

    running = subprocess.Popen(COMMAND, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if "schemas" in line:
            break
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []
