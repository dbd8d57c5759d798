"""What the gateway would do with a request, and what else it might, without a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.control.table import RouteTable, Wave
from gateway.errors import SettingsRefused
from gateway.http1.head import Malformed, Request, parse_request
from gateway.routing.bucket import bucket
from gateway.routing.decision import Decision, Slot, decide
from gateway.routing.near import near_misses
from gateway.routing.router import Route, Router


class Alternative(msgspec.Struct, frozen=True):
    """What happens instead, and when."""

    when: str
    side: str
    reason: str


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision with all that it rests on. `reason` as in the response header `Banyan-Route`."""

    side: str
    reason: str
    upstream: str
    urls: list[str]
    domain: str
    operation: str
    kind: str
    version: int
    key: str | None = None
    bucket: int | None = None
    wave: Wave | None = None
    in_canary: bool | None = None  # None: its wave has none
    hold: bool = False
    alternatives: list[Alternative] = []
    near_misses: list[str] = []  # when no operation matches

    def lines(self) -> Iterator[str]:
        """`name: value`, for people."""
        yield f"side: {self.side}"
        yield f"reason: {self.reason}"
        yield f"upstream: {self.upstream} ({', '.join(self.urls)})"
        yield f"operation: {self.operation} ({self.kind}) of domain {self.domain}"
        yield f"key: {self.key!r}, bucket {self.bucket}" if self.key is not None else "key: none"
        if (wave := self.wave) is not None:
            share = f"canary {wave.canary_percent:g} %"
            yield f"wave: {wave.wave}, phase {wave.phase}, {share}, owner {wave.owner}, epoch {wave.epoch}"
        if self.in_canary is not None:
            yield f"canary: this bucket is {'in' if self.in_canary else 'not in'} it"
        if self.hold:
            yield "hold: the request waits until its wave has an owner"
        for other in self.alternatives:
            yield f"or: {other.side} ({other.reason}) {other.when}"
        for near in self.near_misses:
            yield f"near: {near}"
        yield f"table: version {self.version}"


def explain(table: RouteTable, method: str, path: str, headers: Sequence[str], key: str | None) -> Explanation:
    """`headers`: NAME:VALUE. Raises: SettingsRefused when this is no request."""
    request = request_of(method, path, headers)
    router = Router(table)
    route, values = router.match(request.method, request.path, request)
    if key is None:
        key = route.key_of(request, values)
    elif not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            raise SettingsRefused("the key is not UTF-8") from None
    slot = route.slot_for(key)
    is_read = method in ("GET", "HEAD", "OPTIONS") if route.is_read is None else route.is_read
    decision = decide(slot, is_read=is_read)
    number = bucket(key) if key is not None else None
    wave = _wave_of(table, route, number)
    return Explanation(
        side=decision.side,
        reason=decision.reason,
        upstream=decision.upstream,
        urls=table.upstreams[decision.upstream].urls,
        domain=route.domain,
        operation=route.id,
        kind="read" if is_read else "write",
        version=table.version,
        key=key,
        bucket=number,
        wave=wave,
        in_canary=slot.read.side == "service" if wave is not None and wave.phase == "canary" else None,
        hold=decision.hold,
        alternatives=list(_alternatives(slot, decision, is_read)),
        near_misses=near_misses(table, method, request.path.decode("latin-1"), request)
        if route is router.default
        else [],
    )


def request_of(method: str, path: str, headers: Sequence[str]) -> Request:
    """Raises: SettingsRefused for what the gateway would refuse."""
    head = f"{method} {path} HTTP/1.1\r\nHost: explain\r\n"
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise SettingsRefused(f"a header is NAME:VALUE, not {header!r}")
        head += f"{name.strip()}: {value.strip()}\r\n"
    try:
        return parse_request((head + "\r\n").encode("utf-8", "surrogateescape"))
    except Malformed as refusal:
        raise SettingsRefused(f"the gateway refuses this request with {refusal.status}: {refusal.detail}") from refusal


def _wave_of(table: RouteTable, route: Route, number: int | None) -> Wave | None:
    domain = table.domains.get(route.domain)
    if domain is None or route.native:
        return None
    if number is None:
        return domain.waves[0] if len(domain.waves) == 1 else None
    return next(wave for wave in domain.waves if wave.bucket_from <= number < wave.bucket_to)


def _alternatives(slot: Slot, decision: Decision, is_read: bool) -> Iterator[Alternative]:
    if not is_read:
        for side, other in slot.rerouted.items():
            if side != decision.side and decision.reason != "default":
                yield Alternative("when the database answers that it is the owner (421)", side, other.reason)
        return
    if slot.pinned is not slot.read:
        pinned = slot.pinned
        yield Alternative("after a write of this client, until the sync has passed it", pinned.side, pinned.reason)
    if decision.side == "service" and slot.detour is not None:
        yield Alternative("while the service's breaker is open or it is unhealthy", "legacy", slot.detour.reason)
    if decision.side == "service" and slot.fallback is not None:
        yield Alternative("when the service fails before its answer begins", "legacy", slot.fallback.reason)


def as_json(found: Explanation, **more: Any) -> bytes:
    values: Mapping[str, Any] = msgspec.to_builtins(found)
    return msgspec.json.encode({**values, **more})
