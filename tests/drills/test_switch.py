"""The drill of the switch: its short form finds nothing, and its command says what it would do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import forked

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
@pytest.mark.alone
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_fault_at_some_step_of_a_switch_or_a_rollback_breaks_nothing(tmp_path: Path) -> None:
    options = ["--quick", "--json", "--evidence", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "banyan.cli", "drill", "switch", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=1100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout.splitlines()[-1])
    assert account["well"]
    assert account["cells"] == 28
    assert account["accepted"] > 1_000
    assert account["stale"] == 0


@pytest.mark.e2e
def test_a_dry_run_names_the_cells_and_a_wrong_name_says_which_there_are() -> None:
    named = forked.run("banyan.cli", "drill", "switch", "--component", "redis", "--step", "cross", "--dry-run")
    assert len(named.stdout.splitlines()) == 12
    wrong = forked.run("banyan.cli", "drill", "switch", "--component", "rabbit")
    assert wrong.returncode == 1
    assert "pg-legacy" in wrong.stderr
