"""Token buckets: what one worker sees, and that several workers cannot let in more than all of them may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.bucket import Bucket


def spend(bucket: Bucket, now: float, wanted: int) -> int:
    """How many of so many requests at once get in."""
    admitted = 0
    for _ in range(wanted):
        if bucket.level(now) >= 1:
            bucket.take()
            admitted += 1
    return admitted


def test_a_burst_gets_in_and_then_the_rate() -> None:
    bucket = Bucket(rate=2, burst=5, now=0)
    assert spend(bucket, 0, 10) == 5
    assert (bucket.wait(), bucket.full_in()) == (1, 3)
    assert spend(bucket, 0.49, 1) == 0
    assert spend(bucket, 0.5, 3) == 1
    assert spend(bucket, 100, 10) == 5


def test_a_slow_rate_tells_how_long_to_wait() -> None:
    bucket = Bucket(rate=0.1, burst=1, now=0)
    assert spend(bucket, 0, 2) == 1
    assert bucket.wait() == 10


def test_what_is_spent_while_redis_is_asked_is_not_forgotten() -> None:
    bucket = Bucket(rate=1, burst=5, now=0)
    spend(bucket, 0, 2)
    assert bucket.report(0) == (2, 5.0)
    spend(bucket, 0, 1)
    bucket.agree(3, 0)
    assert bucket.level(0) == 2
    assert bucket.report(0) == (1, 5.0)


def test_after_redis_was_away_it_learns_the_most_that_there_can_be() -> None:
    """It may have lost its data: what this worker has spent alone must not come back as a full bucket."""
    bucket = Bucket(rate=1, burst=5, now=0)
    spend(bucket, 0, 5)
    bucket.report(0)
    bucket.lose()
    assert bucket.report(1) == (0, 1.0)


class World:
    """Redis, as its script keeps a bucket, and workers that sync with it whenever they are told to."""

    def __init__(self, rate: float, burst: int, workers: int) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, float(burst), 0.0
        self.workers = [Bucket(rate, burst, 0) for _ in range(workers)]

    def sync(self, worker: int, now: float) -> None:
        spent, most = self.workers[worker].report(now)
        self.tokens = min(min(self.burst, self.tokens + (now - self.at) * self.rate) - spent, most)
        self.at = now
        self.workers[worker].agree(self.tokens, now)


@given(
    st.integers(1, 4),
    st.integers(1, 20),
    st.floats(0.1, 50),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.floats(0.001, 0.5)), max_size=40),
)
def test_workers_that_take_turns_overshoot_by_no_more_than_a_burst_each(
    workers: int, burst: int, rate: float, steps: list[tuple[int, int, float]]
) -> None:
    """A worker learns what others spent when it next spends itself. The overshoot is paid back: it does not add up."""
    world = World(rate, burst, workers)
    now, admitted = 0.0, 0
    for chosen, wanted, pause in steps:
        admitted += spend(world.workers[chosen % workers], now, wanted)
        world.sync(chosen % workers, now)
        now += pause
        assert admitted <= workers * burst + rate * now + 1e-6


@given(st.integers(1, 4), st.integers(1, 20), st.lists(st.floats(0.01, 1), min_size=1, max_size=30))
def test_a_flood_over_all_workers_at_once_overshoots_by_what_is_there_between_two_syncs(
    workers: int, burst: int, pauses: list[float]
) -> None:
    rate = 10.0
    world = World(rate, burst, workers)
    now, admitted = 0.0, 0
    for pause in pauses:
        admitted += sum(spend(bucket, now, 1000) for bucket in world.workers)
        for number in range(workers):
            world.sync(number, now)
        now += pause
        assert admitted <= workers * burst + rate * now + 1e-6
