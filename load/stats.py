"""What the clients saw, in bounded memory: counts, latencies in a histogram, a few samples of what went wrong."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["read", "write"]
Histograms = Mapping[tuple[Kind, str], list[int]]
#: Called when a request ends, with its kind and how long it took from the first attempt on, ms.
Heard = Callable[[Kind, float], None]

_GROWTH = math.log(1.02)  # a bucket is 2 % wide, so a percentile is right within 2 %
_BUCKETS = 900  # 0.01 ms × 1.02^900 ≈ 9 minutes
_SMALLEST_MS = 0.01


@dataclass(frozen=True, slots=True)
class Sample:
    """One request that did not go as it should."""

    call: str
    status: int  # 0: no answer
    detail: str
    request_id: str
    client: str


@dataclass(frozen=True, slots=True)
class Latency:
    """How many requests there were, and how long they took."""

    count: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot. Latencies run from the first attempt to the accepted answer, waiting and retrying included."""

    requests: int = 0
    ok: int = 0
    failed: int = 0
    retried: int = 0  # requests that needed more than one attempt
    connection_errors: int = 0  # attempts without an answer
    stale_reads: int = 0  # reads that did not show the client's own earlier write
    by_status: dict[int, int] = field(default_factory=dict)  # attempts by status; 0: no answer
    by_side: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_latency_ms: float = 0.0
    samples: tuple[Sample, ...] = ()
    histograms: Histograms = field(default_factory=dict, repr=False)  # by kind, and the side that gave the last answer

    def latency(self, *, since: Stats | None = None, kind: Kind | None = None, side: str | None = None) -> Latency:
        """Of all requests, or those of a kind or a side, that ended after the snapshot `since`."""
        before = since.histograms if since is not None else {}
        counts = [0] * _BUCKETS
        for (found_kind, found_side), histogram in self.histograms.items():
            if kind in (None, found_kind) and side in (None, found_side):
                old = before.get((found_kind, found_side))
                new = histogram if old is None else [now - then for now, then in zip(histogram, old, strict=True)]
                counts = [total + count for total, count in zip(counts, new, strict=True)]
        p50, p99 = (min(percentile(counts, part), self.max_latency_ms) for part in (0.50, 0.99))
        return Latency(sum(counts), p50, p99)


class Recorder:
    """Counts for one fleet. Filled on one event loop; `stats` may be called from any thread."""

    def __init__(self, heard: Heard | None = None) -> None:
        self._heard = heard
        self.requests = self.ok = self.failed = self.retried = self.connection_errors = self.stale_reads = 0
        self._by_status: Counter[int] = Counter()
        self._by_side: Counter[str] = Counter()
        self._histograms: dict[tuple[Kind, str], list[int]] = defaultdict(lambda: [0] * _BUCKETS)
        self._max_ms = 0.0
        self._samples: deque[Sample] = deque(maxlen=20)

    def attempt(self, status: int) -> None:
        self._by_status[status] += 1
        self.connection_errors += status == 0

    def side(self, name: str) -> None:
        self._by_side[name] += 1

    def done(self, ms: float, *, ok: bool, attempts: int, kind: Kind, side: str) -> None:
        self.requests += 1
        self.ok += ok
        self.failed += not ok
        self.retried += attempts > 1
        self._histograms[kind, side][_bucket(ms)] += 1
        self._max_ms = max(self._max_ms, ms)
        if self._heard is not None:
            self._heard(kind, ms)

    def sample(self, sample: Sample) -> None:
        self._samples.append(sample)

    def stats(self) -> Stats:
        histograms = {cell: list(counts) for cell, counts in list(self._histograms.items())}
        everything = [sum(counts) for counts in zip(*histograms.values(), strict=True)] or [0] * _BUCKETS
        return Stats(
            requests=self.requests,
            ok=self.ok,
            failed=self.failed,
            retried=self.retried,
            connection_errors=self.connection_errors,
            stale_reads=self.stale_reads,
            by_status=dict(self._by_status),
            by_side=dict(self._by_side),
            p50_ms=min(percentile(everything, 0.50), self._max_ms),
            p99_ms=min(percentile(everything, 0.99), self._max_ms),
            max_latency_ms=self._max_ms,
            samples=tuple(self._samples),
            histograms=histograms,
        )


def percentile(histogram: list[int], part: float) -> float:
    """The upper edge in ms of the bucket where `part` of all values lie; 0 when there are none."""
    total = sum(histogram)
    seen = 0
    for number, count in enumerate(histogram):
        seen += count
        if count and seen >= part * total:
            return _SMALLEST_MS * math.exp(number * _GROWTH)
    return 0.0


def _bucket(ms: float) -> int:
    if ms <= _SMALLEST_MS:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(ms / _SMALLEST_MS) / _GROWTH))
