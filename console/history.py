"""The last minutes of each domain's traffic, for the charts: bounded, in memory, one point per reading."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from console.readings import SIDES, Figures, Gateway, Part

#: The order of a point's values; None where the gateway did not answer or nothing was asked.
SERIES = ("legacy_per_s", "service_per_s", "legacy_p50", "service_p50", "legacy_p99", "service_p99")
Values = tuple[float | None, ...]
Point = tuple[float, dict[str, Values]]


class History:
    """At most `size` points; each is (Unix seconds, {domain: values of SERIES})."""

    def __init__(self, size: int) -> None:
        self._points: deque[Point] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._points)

    @property
    def last(self) -> Point | None:
        return self._points[-1] if self._points else None

    def add(self, now: datetime, gateway: Part[Gateway]) -> None:
        """A gap when the gateway is silent: a chart must not draw a line through what nobody saw."""
        domains = gateway.value.domains if gateway.value else {}
        self._points.append(
            (
                now.timestamp(),
                {name: _values(domain.figures) if gateway.ok else _GAP for name, domain in domains.items()},
            )
        )

    def columns(self) -> dict[str, Any]:
        """{"t": […], "domains": {name: {series: […]}}}, all of equal length."""
        names = dict.fromkeys(name for _, values in self._points for name in values)
        return {
            "t": [round(at, 1) for at, _ in self._points],
            "domains": {
                name: {
                    series: [values.get(name, _GAP)[number] for _, values in self._points]
                    for number, series in enumerate(SERIES)
                }
                for name in names
            },
        }


_GAP: Values = (None,) * len(SERIES)


def _values(figures: Mapping[str, Figures]) -> Values:
    sides = [figures.get(side, Figures()) for side in SIDES]
    # Without requests a latency is nobody's: the last one would be drawn as if it were measured now.
    return (
        *(round(side.per_s, 1) for side in sides),
        *(side.p50_ms if side.per_s else None for side in sides),
        *(side.p99_ms if side.per_s else None for side in sides),
    )
