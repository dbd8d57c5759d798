"""Local hours and instants: nothing is lost on the way there and back, in any hour of any year."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import localtime

YEARS = st.datetimes(min_value=datetime(2010, 1, 1), max_value=datetime(2035, 1, 1), timezones=st.just(UTC))


@given(YEARS)
def test_every_instant_has_one_local_hour_and_comes_back(instant: datetime) -> None:
    assert localtime.hour_to_utc(*localtime.utc_to_hour(instant)) == instant


def test_all_hours_of_several_years_are_different_and_come_back() -> None:
    start = datetime(2019, 12, 31, 23, tzinfo=UTC)
    instants = [start + timedelta(hours=n) for n in range(5 * 366 * 24)]
    local = [localtime.utc_to_hour(instant) for instant in instants]
    assert len(set(local)) == len(instants)
    assert [localtime.hour_to_utc(*hour) for hour in local] == instants
    assert sum(flag == "A" for _, flag in local) == sum(flag == "B" for _, flag in local) == 5


@given(st.dates(min_value=date(2010, 1, 1), max_value=date(2035, 1, 1)))
def test_local_days_follow_each_other_and_have_23_24_or_25_hours(day: date) -> None:
    start, end = localtime.day_bounds(day)
    assert (end - start) // timedelta(hours=1) in (23, 24, 25)
    assert end == localtime.day_start(day + timedelta(days=1))
    assert localtime.to_local(start) == datetime.combine(day, datetime.min.time())


@given(st.datetimes(min_value=datetime(2010, 1, 1), max_value=datetime(2035, 1, 1)))
def test_a_local_time_without_flag_comes_back_unless_the_clock_skips_it(local: datetime) -> None:
    assert localtime.is_missing(local) or localtime.to_local(localtime.to_utc(local)) == local


@pytest.mark.parametrize(
    ("local", "flag", "problem"),
    [
        ("2024-03-31T02:00:00", "N", localtime.MissingHour),
        ("2024-03-31T02:59:59", "A", localtime.MissingHour),
        ("2024-10-27T02:00:00", "N", localtime.AmbiguousHour),
        ("2024-10-27T03:00:00", "A", localtime.WrongFlag),
        ("2024-07-01T02:00:00", "B", localtime.WrongFlag),
    ],
)
def test_a_local_hour_that_names_none_or_two_instants_is_refused(
    local: str, flag: str, problem: type[Exception]
) -> None:
    with pytest.raises(problem):
        localtime.hour_to_utc(datetime.fromisoformat(local), flag)


def test_the_two_passes_of_the_repeated_hour_are_an_hour_apart() -> None:
    twice = datetime(2024, 10, 27, 2)
    assert localtime.hour_to_utc(twice, "B") - localtime.hour_to_utc(twice, "A") == timedelta(hours=1)
