"""The status table says what it means without its colours."""

import time

import pytest

from banyan.commands import plan_views
from migration_plan.status import DomainStatus, Status, WaveStatus

WAVE = WaveStatus(0, 0, 1024, "legacy", 0, "legacy", 1, None, None, None)


def shown(health: dict[str, bool], capsys: pytest.CaptureFixture[str]) -> str:
    domain = DomainStatus("toys", "legacy", 0, "legacy", 1, [WAVE], {}, None, {}, {}, health, {}, {}, [])
    plan_views.show_status(Status(time.time(), "ann", 3, 1, [domain], [], [], [], True))
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("toys"))


def test_health_is_told_in_words_for_each_side(capsys):
    assert shown({"legacy": True, "service": True}, capsys).rstrip().endswith("legacy up, service up")
    assert shown({"legacy": True, "service": False}, capsys).rstrip().endswith("legacy up, service DOWN")
