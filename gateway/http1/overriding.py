"""Lets a tester's signed header choose the side of a read (gateway/policies/override.py)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.http1.head import all_values
from gateway.policies.override import Refused, side_of
from gateway.routing.decision import Decision

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


def overridden(exchange: Exchange, key: bytes) -> Decision:
    """What to do instead of the exchange's decision; that one when nothing is overridden, and what was wrong if so."""
    request, slot, usual = exchange.request, exchange.slot, exchange.decision
    given = all_values(request.head, request.low, b"banyan-override")
    domain, meter = exchange.route.domain, exchange.gateway.meter
    if not given or exchange.route.is_read is None:
        return usual
    try:
        if len(given) != 1:
            raise Refused("malformed")
        side = side_of(key, given[0], domain, time.time())
        other = slot.rerouted.get(side)
        if other is None or (side == "legacy" and slot.fallback is None and usual.side == "service"):
            raise Refused("impossible")  # legacy has no such operation, or no longer has this wave
    except Refused as why:
        meter.count(domain, "override_refused")
        if usual is not slot.read:
            return usual  # its identity means something
        return replace(usual, banner=usual.banner[:-2] + f"; override={why}\r\n".encode())
    meter.count(domain, "overridden")
    behind = side != slot.owner or slot.pinned.behind
    banner = other.banner.replace(b"reason=rerouted", b"reason=override")
    return replace(other, reason="override", banner=banner, behind=behind)
