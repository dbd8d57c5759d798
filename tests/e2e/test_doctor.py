"""What falls comes back, and `banyan doctor` tells it."""

from __future__ import annotations

import os
import signal

import pytest

from banyan.stack.home import Home
from tests.e2e.conftest import Stack, wait_for


@pytest.mark.e2e
def test_a_killed_server_comes_back_and_doctor_says_that_it_fell(stack: Stack):
    running = Home(stack.home).running()
    assert running is not None
    os.kill(running.processes["redis"], signal.SIGKILL)
    said: list[str] = []

    def healed() -> bool:
        done = stack.banyan("doctor", check=False)
        said[:] = done.stdout.splitlines()
        return done.returncode == 0 and any("restarted, 1 ×" in line for line in said)

    wait_for(healed, "Redis to come back")
    [line] = [line for line in said if "restarted" in line]
    assert line.startswith("note redis")
    assert "banyan logs redis" in line


@pytest.mark.e2e
def test_a_second_up_with_other_options_is_refused(stack: Stack):
    done = stack.banyan("up", "--detach", "--workers", "4", check=False)
    assert done.returncode == 1
    assert "--workers 1, not 4" in done.stderr
    assert "banyan down" in done.stderr
