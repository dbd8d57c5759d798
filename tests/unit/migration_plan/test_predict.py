"""The pause that is predicted, and how sure one can be of it."""

from __future__ import annotations

import random

import pytest

from migration_plan.gates.predict import Past, Prediction, predict


def pasts(*pauses: float) -> list[Past]:
    return [Past(pause) for pause in pauses]


def calm(past: list[Past]) -> Prediction:
    return predict(past, lag=0, oldest_transaction=0, round_trip=1.0, gateway=5.0)


def test_without_a_past_the_messages_are_counted_and_the_interval_says_how_little_that_is() -> None:
    assert calm([]) == Prediction(18.0, 4.5, 72.0)


def test_a_past_says_more_than_the_messages() -> None:
    assert calm(pasts(30, 50, 40)).expected == 40.0


def test_a_longer_lag_takes_the_place_of_what_was_waited_for_the_stream() -> None:
    past = [Past(pause=60, fence=10, catch_up=20)] * 5
    steady = predict(past, lag=15, oldest_transaction=5, round_trip=1, gateway=5)
    assert steady.expected == 60.0
    behind = predict(past, lag=120, oldest_transaction=5, round_trip=1, gateway=5)
    assert behind.expected == 160.0
    held_up = predict(past, lag=15, oldest_transaction=210, round_trip=1, gateway=5)
    assert held_up.expected == 260.0


@pytest.mark.parametrize("count", [1, 2, 3, 6, 12, 40])
def test_the_expected_pause_lies_within_its_interval(count: int) -> None:
    found = calm(pasts(*[40 + 3 * n for n in range(count)]))
    assert 0 < found.low <= found.expected <= found.high


def test_more_experience_narrows_the_interval() -> None:
    spread = [30.0, 50.0, 40.0, 45.0, 35.0, 60.0, 42.0, 38.0, 44.0, 52.0]
    found = [calm(pasts(*spread[:count])) for count in (1, 4, 10)]
    widths = [one.high / one.low for one in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 3.2


def test_equal_pauses_do_not_make_it_sure_of_the_next() -> None:
    found = calm(pasts(*[40.0] * 12))
    assert found.low < 32
    assert found.high > 50


def test_nine_of_ten_pauses_lie_in_the_interval_that_was_told_before_them() -> None:
    dice = random.Random(7)
    hits = 0
    for _ in range(400):
        *past, real = (dice.lognormvariate(3.7, 0.4) for _ in range(dice.randrange(3, 14)))
        found = calm(pasts(*past))
        hits += found.low <= real <= found.high
    assert 0.86 * 400 < hits < 0.96 * 400
