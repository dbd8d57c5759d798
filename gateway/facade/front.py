"""The facade of one table: what clients call us, what they must not see, what an upstream may set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.control.front import Facade
from gateway.control.table import RouteTable
from gateway.facade import answers
from gateway.facade.cookies import Allows, allowing
from gateway.facade.places import Places, Public, public_from, public_of

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange

_PROTO = re.compile(rb"\r\nx-forwarded-proto:[ \t]*(https?)[ \t]*\r\n", re.IGNORECASE)
_SETS = re.compile(rb"\r\nset-cookie:", re.IGNORECASE)


class Front:
    """Immutable; a new table makes a new one."""

    def __init__(self, table: RouteTable) -> None:
        facade = table.facade or Facade()
        self.places = Places(table)
        self.link_types = frozenset(media.encode() for media in facade.links)
        self.link_bytes = facade.link_bytes
        self.allows: dict[str, Allows | None] = {
            name: None if upstream.cookies is None else allowing(upstream.cookies)
            for name, upstream in table.upstreams.items()
        }
        self._cookies = {name.encode(): shown for name, shown in facade.cookies.items()}
        self._fixed = public_from(facade.origin) if facade.origin is not None else None

    def public(self, exchange: Exchange) -> Public:
        """What this client calls us. The scheme is what we told the upstream: it follows the hops that are trusted."""
        if self._fixed is not None:
            return self._fixed
        told = _PROTO.search(exchange.head)
        return public_of(exchange.request.host, told[1].lower() if told is not None else b"http")

    def shown(self, exchange: Exchange, head: bytes) -> bytes:
        """The head of an answer without the places of backends, and without cookies that are not its sender's."""
        bridge = exchange.gateway.bridge
        if bridge is not None and bridge.sessions and _SETS.search(head) is not None:
            bridge.forget(exchange)
        return self.told(head, self.public(exchange), exchange.decision.upstream)

    def told(self, head: bytes, public: Public, upstream: str) -> bytes:
        """The same, as far as the answer alone says it."""
        return answers.shown(head, public, self.places, self._cookies, self.allows.get(upstream))
