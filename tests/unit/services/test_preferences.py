"""Quiet hours: local, half-open, also over midnight."""

from __future__ import annotations

from datetime import datetime, time

import pytest

from services.notifications.domain.messages import Preferences, is_quiet_period


@pytest.mark.parametrize(
    ("start", "end", "at", "quiet"),
    [
        ("22:00", "07:00", "21:59", False),
        ("22:00", "07:00", "22:00", True),
        ("22:00", "07:00", "00:00", True),
        ("22:00", "07:00", "06:59", True),
        ("22:00", "07:00", "07:00", False),
        ("12:00", "13:00", "11:59", False),
        ("12:00", "13:00", "12:00", True),
        ("12:00", "13:00", "13:00", False),
    ],
)
def test_quiet_hours_begin_with_their_start_and_end_before_their_end(
    start: str, end: str, at: str, quiet: bool
) -> None:
    wanted = Preferences(quiet_from=time.fromisoformat(start), quiet_to=time.fromisoformat(end))
    assert wanted.is_quiet(datetime.fromisoformat(f"2024-07-01T{at}:30")) is quiet


def test_without_quiet_hours_no_time_is_quiet() -> None:
    assert not Preferences().is_quiet(datetime(2024, 7, 1, 3))


def test_quiet_hours_are_two_different_times_or_none() -> None:
    seven, eight = time(7), time(8)
    assert all(is_quiet_period(*pair) for pair in ((None, None), (seven, eight), (eight, seven)))
    assert not any(is_quiet_period(*pair) for pair in ((seven, seven), (seven, None), (None, seven)))
