"""Who calls, known at both sides: a login at either is valid at the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.auth.bridge import Bridge
    from gateway.control.table import RouteTable
    from gateway.core import Gateway


def bridge_for(table: RouteTable, gateway: Gateway, before: Bridge | None) -> Bridge | None:
    """What the table asks for, or None; what `before` knows is kept as far as it still holds."""
    wanted = table.auth is not None or any(u.cookies is not None or u.identity for u in table.upstreams.values())
    wanted = wanted or bool(table.facade is not None and table.facade.links)
    if before is not None and (not wanted or before.auth != table.auth):
        before.close()
        before = None
    if not wanted:
        return None
    from gateway.auth.bridge import Bridge  # brings cryptography and httpx: not for workers that need neither

    return Bridge(table, gateway, before)
