"""What the gateway's figures say of crowded sides and servers that are left out, in words for the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def crowd_problems(part: Mapping[str, Any]) -> Iterator[str]:
    """Of one domain's part of `GET /v1/status`; nothing when all is well or the gateway is away."""
    for side, crowd in part.get("crowd", {}).items():
        inside, all_ = crowd["servers"]
        if inside < all_:
            yield f"{side}: {inside} of {all_} servers get requests; the rest is down, or failed too often"
        if crowd["waiting"]:
            yield f"{side}: {crowd['waiting']} requests wait behind {crowd['in_flight']} in flight (bulkhead)"
