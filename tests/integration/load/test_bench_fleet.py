"""`banyan bench fleet` in small: against the real service and its database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from banyan.commands.bench import bench
from services import devices

# Before the service keeps polls waiting there is nothing to measure.
waits = (Path(devices.__file__).parent / "fleet").is_dir()


@pytest.mark.long
@pytest.mark.skipif(not waits, reason="services/devices keeps no polls waiting yet (docs/fleet.md)")
def test_all_of_a_small_fleet_have_a_published_schedule_soon() -> None:
    result = CliRunner().invoke(bench, ["fleet", "--agents", "100", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["bench"] == "fleet"
    assert set(report["bar"]) <= set(report["figures"])
    assert 0 < report["figures"]["p99_have_it_s"] <= report["figures"]["all_have_it_s"] < 5
    assert (report["figures"]["failed_requests"], report["figures"]["unreachable"]) == (0, 0)
