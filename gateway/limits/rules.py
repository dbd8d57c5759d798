"""The limits of one operation, compiled: who is counted, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from math import ceil
from typing import TYPE_CHECKING

from gateway.routing.keys import MAX_KEY, Source, source

if TYPE_CHECKING:
    from gateway.control.front import Limit
    from gateway.control.table import Operation
    from gateway.http1.exchange import Exchange

ADDRESS = "address"
_BEFORE = len(b"X-Forwarded-For: ")  # what http1.hops begins its lines with


class Policy:
    """One limit. `scope`: requests of the same scope and caller share a bucket."""

    __slots__ = ("burst", "name", "rate", "scope", "sources", "told")

    def __init__(self, scope: str, limit: Limit, names: Sequence[str]) -> None:
        self.scope = scope.encode()
        self.name = limit.name
        self.rate = limit.rate
        self.burst = limit.burst
        self.sources: list[tuple[bytes, Source | None]] = [
            (spec.encode(), None if spec == ADDRESS else source(spec, names)) for spec in (*limit.key, ADDRESS)
        ]
        # draft-ietf-httpapi-ratelimit-headers: the quota, and the seconds in which it comes back
        self.told = b'"%b";q=%d;w=%d' % (limit.name.encode(), limit.burst, max(1, ceil(limit.burst / limit.rate)))

    def bucket_of(self, exchange: Exchange) -> bytes:
        """Names the caller's bucket without giving the caller away: keys may be cookies."""
        for spec, read in self.sources:
            found = address_of(exchange) if read is None else read(exchange.request, exchange.values)
            if found and len(found) <= MAX_KEY:
                return blake2b(b"\0".join((self.scope, spec, found)), digest_size=16).digest()
        raise AssertionError("everybody has an address")


Limits = tuple[Policy, ...]


def limits_of(domain: str, shared: Sequence[Limit], operation: Operation) -> Limits | None:
    """Those of the operation and of its domain; None when there are none."""
    from gateway.control.rules import parameters

    names = parameters(operation.path)
    own = [Policy(f"{domain}/{operation.id}/{limit.name}", limit, names) for limit in operation.limits]
    return tuple(own + [Policy(f"{domain}//{limit.name}", limit, names) for limit in shared]) or None


def address_of(exchange: Exchange) -> bytes:
    """The client's address, as far as the hops before us are trusted; of IPv6 the /64, which is what one client has."""
    lines = exchange.client.hops.lines(exchange.request)
    return _network(lines[_BEFORE : lines.index(b"\r", _BEFORE)].partition(b",")[0])


@lru_cache(4096)
def _network(address: bytes) -> bytes:
    if b":" not in address:
        return address
    try:
        return IPv6Address(address.strip(b"[]").decode("ascii", "replace")).packed[:8]
    except ValueError:
        return address
