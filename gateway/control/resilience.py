"""What an operator may say of failing, slow and crowded sides; part of the route table, and of the plan.

Whatever is not said has a safe default; a bulkhead and shedding are off until they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Protocol

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=1, le=100_000)]


class Breaker(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When the calls of one side and class (read or write) are called failing, and how they come back.

    Opens after `failures` in a row, or when at least `minimum` calls of the last `window` seconds were made and
    `failure_percent` of them failed (0: never). After `reset` seconds (unset: GATEWAY_BREAKER_RESET; doubled with each
    probe that fails, up to 8 times) one call at a time probes; after `probes` good ones in a row it closes.
    """

    failures: Count = 5
    failure_percent: Share = 50
    minimum: Count = 20
    window: Seconds = 10.0
    reset: Seconds | None = None
    probes: Annotated[int, Meta(ge=1, le=100)] = 1


class Bulkhead(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of one domain at one side, in one worker: at most `in_flight` requests, then `waiting` in a queue, then 503."""

    in_flight: Count
    waiting: Annotated[int, Meta(ge=0, le=100_000)] = 64


class Outliers(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When one of several equal servers gets no requests for a while.

    After `failures` gateway failures in a row (no connection, broken or no answer, 502, 503, 504) it is out for
    `seconds`, twice as long each further time, up to `longest`; never the last one. Whoever comes back gets its share
    of requests over `slow_start` seconds (0: at once).
    """

    failures: Count = 5
    seconds: Seconds = 5.0
    longest: Seconds = 300.0
    slow_start: Annotated[float, Meta(ge=0, le=3600)] = 5.0


class Shedding(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An upper limit of requests in flight that follows the measured latency, between `least` and `most`.

    `tolerance`: how many times slower than an idle server answers are taken as well.
    """

    least: Count = 8
    most: Count = 256
    tolerance: Annotated[float, Meta(ge=1.1, le=100)] = 2.0


def problems_of_outliers(rule: Outliers) -> Iterator[str]:
    if rule.longest < rule.seconds:
        yield f"outliers: longest ({rule.longest:g}) must not be below seconds ({rule.seconds:g})"


def problems_of_shedding(rule: Shedding) -> Iterator[str]:
    if rule.most < rule.least:
        yield f"shedding: most ({rule.most}) must not be below least ({rule.least})"


class Repeatable(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def idempotent(self) -> bool | str: ...


def is_repeatable(operation: Repeatable) -> bool:
    """May its requests be sent again while the first may still be carried out, or another side answer them?

    The method says nothing of it: a PUT that is done a second time, after a later one, undoes that one.
    """
    return operation.kind == "read" or bool(operation.idempotent)


def problems_of_times(timeout: float | None, try_timeout: float | None, *, repeatable: bool) -> Iterator[str]:
    """Of one operation. `repeatable`: as `is_repeatable` says."""
    for name, value in (("timeout", timeout), ("try_timeout", try_timeout)):
        if value is not None and not 0 < value <= 86_400:
            yield f"{name} must be within 0..86400 seconds, not {value:g}"
    if timeout is not None and try_timeout is not None and try_timeout >= timeout:
        yield f"try_timeout ({try_timeout:g}) must be below timeout ({timeout:g})"
    if try_timeout is not None and not repeatable:
        yield "try_timeout is for requests that may be sent again; this one is neither a read nor declared idempotent"
