"""Whether the clock may be acted upon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pi_agent.timekeeping import Timekeeper

NOON = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
DATE = "Mon, 01 Jun 2026 10:00:00 GMT"


def test_nothing_known_nothing_doubted() -> None:
    assert Timekeeper().distrust(NOON, 0, 300) is None
    assert Timekeeper().latest(NOON, 0) == NOON


@pytest.mark.parametrize(("ours", "why"), [(-301, "it is 301 s behind"), (301, "it is 301 s ahead"), (299, None)])
def test_a_clock_that_the_server_contradicts_is_not_trusted(ours: float, why: str | None) -> None:
    keeper = Timekeeper()
    keeper.note(DATE, 50)
    assert keeper.distrust(NOON + timedelta(seconds=ours), 50, 300) == why
    assert keeper.distrust(NOON + timedelta(seconds=ours + 20), 70, 300) == why


def test_a_clock_that_came_up_in_the_past_is_not_trusted_until_a_server_says_the_time() -> None:
    keeper = Timekeeper(floor=NOON)
    reset = datetime(1970, 1, 1, tzinfo=UTC)
    assert keeper.distrust(reset, 0, 300) == "it is before 2026-06-01T10:00Z, which has been"
    assert keeper.distrust(NOON, 0, 300) is None
    earlier = NOON - timedelta(days=1)  # what was remembered may have been a clock that was ahead
    keeper.note_skew(0, earlier, 0)
    assert keeper.distrust(earlier, 0, 300) is None


def test_ends_go_by_the_later_clock_and_noise_is_no_skew() -> None:
    keeper = Timekeeper()
    keeper.note(DATE, 0)
    assert keeper.latest(NOON - timedelta(seconds=2), 0) == NOON - timedelta(seconds=2)
    assert keeper.latest(NOON - timedelta(seconds=60), 0) == NOON
    assert keeper.latest(NOON + timedelta(seconds=60), 0) == NOON + timedelta(seconds=60)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Jun 2026 10:00:00 GMT"])
def test_a_date_that_cannot_be_read_says_nothing(date: str | None) -> None:
    keeper = Timekeeper()
    keeper.note(date, 0)
    assert keeper.skew_s(NOON, 0) is None


def test_the_check_can_be_turned_off() -> None:
    keeper = Timekeeper(floor=NOON)
    assert keeper.distrust(datetime(1970, 1, 1, tzinfo=UTC), 0, 0) is None
