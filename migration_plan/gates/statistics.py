"""Two cohorts of requests compared by their histograms: pure functions, each with its source.

A histogram is ordinal data with ties, so Mann and Whitney's test needs no more than it: requests of one bucket are
tied, and the correction for ties is exact. What a bucket hides (its width, here a factor of 1.6) can only make two
cohorts look more alike, never less: a difference that is found is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Counts = Sequence[float]


@dataclass(frozen=True, slots=True)
class RankTest:
    """`z` > 0: the first cohort has the greater values. `effect`: how probable it is that one of the first is above one
    of the second, ties counting half (0.5: alike); the common language effect size of McGraw and Wong, 1992."""

    z: float
    effect: float
    u: float

    @property
    def p_greater(self) -> float:
        """How probable so great a `z` is, if there is no difference. One-sided."""
        return 0.5 * math.erfc(self.z / math.sqrt(2))


def mann_whitney(first: Counts, second: Counts) -> RankTest | None:
    """Mann and Whitney's U of two histograms over the same buckets, normal approximation with the correction for ties
    and continuity (as R's wilcox.test and SciPy's mannwhitneyu). None where one is empty, or all are tied.
    """
    return stratified([(first, second)])


def stratified(strata: Sequence[tuple[Counts, Counts]]) -> RankTest | None:
    """The same within strata (operations), so that cohorts that ask for different things can be compared: van Elteren's
    test, 1960, each stratum weighing 1 / (n + m + 1).
    """
    distance = variance = pairs = wins = 0.0
    least = math.inf
    for first, second in strata:
        n, m = sum(first), sum(second)
        if not n or not m:
            continue
        u, spread = _u(first, second)
        weight = 1 / (n + m + 1)
        distance += weight * (u - n * m / 2)
        variance += weight * weight * spread
        pairs, wins, least = pairs + n * m, wins + u, min(least, weight)
    if variance <= 0:
        return None
    correction = min(abs(distance), least / 2) * (1 if distance > 0 else -1)
    return RankTest((distance - correction) / math.sqrt(variance), wins / pairs, wins)


def _u(first: Counts, second: Counts) -> tuple[float, float]:
    """U of the first, and its variance when both are of one population."""
    n, m = sum(first), sum(second)
    total = n + m
    below, u, ties = 0.0, 0.0, 0.0
    for a, b in zip(first, second, strict=True):
        u += a * (below + b / 2)
        below += b
        tied = a + b
        ties += tied**3 - tied
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    return u, max(variance, 0.0)


def standardised(strata: Sequence[tuple[Counts, Counts]]) -> tuple[list[float], list[float]] | None:
    """Both cohorts pooled, the second as if it had asked for what the first did (direct standardisation); only strata
    that both have. None when there are none."""
    kept = [(a, b) for a, b in strata if sum(a) and sum(b)]
    if not kept:
        return None
    width = len(kept[0][0])
    first, second = [0.0] * width, [0.0] * width
    for a, b in kept:
        share = sum(a) / sum(b)
        for index in range(width):
            first[index] += a[index]
            second[index] += b[index] * share
    return first, second


def quantile(histogram: Counts, bounds: Sequence[float], share: float) -> float | None:
    """In the unit of `bounds`, interpolated within its bucket; the last one has no upper bound and gives its lower."""
    total = sum(histogram)
    if total <= 0:
        return None
    rank, seen = share * total, 0.0
    for index, count in enumerate(histogram[: len(bounds)]):
        if count and seen + count >= rank:
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - seen) / count
        seen += count
    return bounds[-1]


def above(histogram: Counts, bounds: Sequence[float], value: float) -> float:
    """How many are above `value`, interpolated within its bucket."""
    index = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
    if index == len(bounds):
        return histogram[-1] if value <= bounds[-1] else 0.0
    low = bounds[index - 1] if index else 0.0
    return sum(histogram[index + 1 :]) + histogram[index] * (bounds[index] - value) / (bounds[index] - low)


def binomial_tail(hits: int, trials: int, share: float) -> float:
    """How probable at least `hits` of `trials` are, where each has the chance `share`."""
    if hits <= 0:
        return 1.0
    if share >= 1:
        return 1.0
    if share <= 0 or hits > trials:
        return 0.0
    log_share, log_rest = math.log(share), math.log1p(-share)

    def log_chance(k: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        return ways + k * log_share + (trials - k) * log_rest

    # The terms fall from the mode on: what is left after so many is nothing.
    total, mode = 0.0, int(trials * share)
    for k in range(hits, trials + 1):
        term = math.exp(log_chance(k))
        total += term
        if k > mode and term < total * 1e-12:
            break
    return min(total, 1.0)


def grown(before: Sequence[int], now: Sequence[int]) -> list[int]:
    return [b - a for a, b in zip(before, now, strict=True)]
