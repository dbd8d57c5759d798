"""Walk a domain along its journey by the operator's commands, while clients read, write and check what they wrote."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.e2e.conftest import ROOT, Stack, wait_for

CONTRACT = ROOT / "legacy_monolith" / "tests" / "characterization"


@contextlib.contextmanager
def clients(stack: Stack, domain: str) -> Iterator[None]:
    """`banyan load` on `domain` for as long as the block lasts; nothing of it may fail or be lost."""
    command = [sys.executable, "-m", "banyan.cli", "load", "--domain", domain, "--rate", "120", "--json"]
    working = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "BANYAN_HOME": str(stack.home)}, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield
        working.send_signal(signal.SIGINT)
        said, _ = working.communicate(timeout=180)
    finally:
        working.kill()
    assert working.returncode == 0, said[-4000:]
    assert json.loads(said.splitlines()[-1])["domains"][domain]["requests"] > 0


def wait_for_comparisons(stack: Stack, domain: str, samples: int = 300) -> None:
    """Until shadow has compared what the plan asks for before the canary."""
    wait_for(lambda: state(stack, domain)["shadow"]["compared"] >= samples, f"{samples} answers of {domain}", 180, 0.5)


def state(stack: Stack, domain: str) -> dict[str, Any]:
    answer = json.loads(stack.banyan("status", "--json").stdout)
    return next(d for d in answer["domains"] if d["domain"] == domain)


@contextlib.contextmanager
def at_service(stack: Stack, domain: str, *, under_load: bool = True) -> Iterator[None]:
    """`domain` is at its service inside the block, and back at the monolith after it.

    `under_load`: clients read and write while it moves, and shadow compares what they read; else it moves in silence.
    """
    with clients(stack, domain) if under_load else contextlib.nullcontext():
        for wave in waves(stack, domain):
            stack.banyan("advance", domain, *wave, "--yes", "--reason", "test")
        if under_load:
            wait_for_comparisons(stack, domain)
        forced = () if under_load else ("--force-gate", "shadow")
        for wave in waves(stack, domain):
            for _ in range(2):
                stack.banyan("advance", domain, *wave, "--yes", "--reason", "test", *forced)
            stack.banyan("switch", domain, *wave, "--yes", "--reason", "test")
    try:
        yield
    finally:
        for number, wave in enumerate(waves(stack, domain)):
            while state(stack, domain)["waves"][number]["phase"] != "legacy":
                stack.banyan("rollback", domain, *wave, "--yes", "--reason", "test")


def waves(stack: Stack, domain: str) -> list[tuple[str, ...]]:
    """How each of the domain's waves is named on the command line."""
    count = len(state(stack, domain)["waves"])
    return [("--wave", str(number)) for number in range(count)] if count > 1 else [()]


def characterize(stack: Stack) -> None:
    """The monolith's own characterization tests, as they are, against the gateway."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(CONTRACT)],
        cwd=ROOT,
        env={
            **os.environ,
            "CHARACTERIZATION_BASE_URL": stack.gateway,
            "CHARACTERIZATION_BACKOFFICE_KEY": stack.env["LEGACY_BACKOFFICE_KEY"],
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
