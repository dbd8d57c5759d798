"""The drill of change data capture, in its short form: three rounds of kill -9, and every row accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
@pytest.mark.long
def test_three_rounds_of_kill_9_lose_nothing_double_nothing_and_raise_no_false_alarm() -> None:
    # Without Kafka, whose own kills tests/integration/cdc_kafka has: a JVM that starts again and again takes minutes.
    options = ["--rounds", "3", "--seed", "7", "--seconds", "1", "--no-kafka", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "banyan.cli", "drill", "cdc", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout.splitlines()[-1])
    assert account["well"]
    assert account["equal"]
    assert (account["lost"], account["doubled"], account["parked"], account["false_positives"]) == (0, 0, 0, 0)
    assert sum(account["kills"].values()) >= 3
    assert account["committed"] > 50
    assert min(account["rows"].values()) > 20
