"""What the gateway would do with a request, in words, without a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.control.table import RouteTable
from gateway.errors import SettingsRefused
from gateway.http1.head import Malformed, parse_request
from gateway.routing.bucket import bucket
from gateway.routing.decision import decide
from gateway.routing.router import Router


def explain(table: RouteTable, method: str, path: str, headers: Sequence[str], key: str | None) -> Iterator[str]:
    """Lines of `name: value`. Raises: SettingsRefused when this is no request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: explain\r\n"
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise SettingsRefused(f"a header is NAME:VALUE, not {header!r}")
        head += f"{name.strip()}: {value.strip()}\r\n"
    try:
        request = parse_request((head + "\r\n").encode())
    except Malformed as refusal:
        raise SettingsRefused(f"the gateway refuses this request with {refusal.status}: {refusal.detail}") from refusal
    router = Router(table)
    route, values = router.match(request.method, request.path)
    if key is None:
        key = route.key_of(request, values)
    slot = route.slot_for(key)
    is_read = method in ("GET", "HEAD", "OPTIONS") if route.is_read is None else route.is_read
    decision = decide(slot, is_read=is_read)
    yield f"side: {decision.side}"
    yield f"reason: {decision.reason}"
    yield f"upstream: {decision.upstream} ({', '.join(table.upstreams[decision.upstream].urls)})"
    yield f"operation: {route.id} ({'read' if is_read else 'write'}) of domain {route.domain}"
    yield f"key: {key!r}, bucket {bucket(key)}" if key is not None else "key: none"
    if route.domain in table.domains:
        for wave in table.domains[route.domain].waves:
            if key is not None and wave.bucket_from <= bucket(key) < wave.bucket_to:
                share = f"canary {wave.canary_percent:g} %"
                yield f"wave: {wave.wave}, phase {wave.phase}, {share}, owner {wave.owner}, epoch {wave.epoch}"
    if decision.hold:
        yield "hold: the request waits until its wave has an owner"
    if is_read and slot.fallback is not None and decision.side == "service":
        yield "fallback: legacy answers when the service fails"
    yield f"table: version {table.version}"
