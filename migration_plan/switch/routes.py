"""The gateways' route table, changed for one wave: hold its writes, and publish where they go."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import msgspec

from gateway.control.change import DomainChange
from gateway.control.table import Domain, RouteTable, Upstream, Wave
from gateway.errors import AdminError, AdminUnreachable, TableRefused, VersionConflict
from migration_plan.compile import compile_auth, compile_domain, compile_upstream
from migration_plan.context import Context
from migration_plan.errors import NotConfigured, Refused, Unreachable
from migration_plan.journey import Stand
from migration_plan.switch.ports import Owned

# Somebody changes another domain at the same moment: read again and repeat.
CONFLICTS = 6


class GatewayRoutes:
    """Changes only its own wave; the rest of the table stays as others put it."""

    def __init__(self, context: Context, domain: str, wave: int, reason: str) -> None:
        self._context, self._domain, self._wave, self._reason = context, domain, wave, reason
        self._hold_timeout_s = context.plan.domain(domain).budgets.hold_publish_ms / 1000
        # The table before and after our hold, unless somebody else changes it: then a change of ours is refused.
        self._opened: RouteTable | None = None
        self._held: RouteTable | None = None

    def open(self) -> None:
        """Connect and learn the table, so that neither is part of the pause. A gateway may be away."""
        with contextlib.suppress(AdminError, NotConfigured):
            self._context.admin().table()
            self._opened = self._context.admin(self._hold_timeout_s).table()

    def require_valid(self, stand: Stand) -> None:
        """The table that ends a step to `stand`, before it begins. Raises: Refused, naming every reason."""
        now = RouteTable(version=1, upstreams={}, domains={})
        with contextlib.suppress(AdminError, NotConfigured):
            now = self._context.admin().table()
        known = now.domains[self._domain].waves if self._domain in now.domains else []
        newest = max((wave.epoch for wave in known if wave.wave == self._wave), default=0)
        try:
            self._changed(now, Owned(stand.owner, newest + 1), stand).validated()
        except TableRefused as error:
            reasons = "; ".join(error.reasons)
            raise Refused(f"the gateway would not take the routes that follow: {reasons}; correct the plan") from error

    def hold(self) -> bool:
        """Bounded by the plan's `hold_publish_ms`; a gateway that does not answer in time may hold or not."""
        try:
            admin = self._context.admin(self._hold_timeout_s)
        except NotConfigured:
            return False
        change = DomainChange(self._reason, wave=self._wave, hold=True)
        for _ in range(CONFLICTS):
            try:
                now, self._opened = self._opened or admin.table(), None
                applied = admin.patch_domain(
                    self._domain,
                    now.version,
                    self._context.actor,
                    self._reason,
                    wave=self._wave,
                    durable=False,  # clients wait, and a gateway that comes back without it asks the guard
                    hold=True,
                )
            except VersionConflict:
                continue
            except AdminError as error:
                # Nobody listens, or the change was refused: nothing holds. After a late answer something may.
                return isinstance(error, AdminUnreachable) and not isinstance(error.__cause__, httpx.ConnectError)
            self._held = msgspec.structs.replace(change.apply(now, self._domain), version=applied.version)
            return True
        return False

    def publish(self, owned: Owned, stand: Stand) -> dict[str, Any]:
        """Raises: Unreachable, when no gateway took it."""
        try:
            return self._publish(owned, stand)
        except (AdminError, NotConfigured) as error:
            raise Unreachable(str(error)) from error

    def _publish(self, owned: Owned, stand: Stand) -> dict[str, Any]:
        admin = self._context.admin()
        for _ in range(CONFLICTS):
            held, self._held = self._held, None
            now = held or admin.table()
            wanted = self._changed(now, owned, stand)
            if wanted == now:
                return {"version": now.version, "unchanged": True}
            try:
                applied = admin.put_table(wanted, now.version, self._context.actor, self._reason, durable=held is None)
            except VersionConflict:
                continue
            return {"version": applied.version, "workers": applied.total, "applied": applied.applied, "ms": applied.ms}
        raise Unreachable("the route table keeps changing: see the audit of the gateway's admin API")

    def _changed(self, now: RouteTable, owned: Owned, stand: Stand) -> RouteTable:
        """The table with our wave as it shall be; what a newer epoch says of it stays."""
        plan = self._context.plan
        known = {wave.wave: wave for wave in now.domains[self._domain].waves} if self._domain in now.domains else {}
        compiled = compile_domain(
            plan,
            self._domain,
            {(self._domain, self._wave): (owned.owner, owned.epoch)},
            {(self._domain, self._wave): stand},
        )
        waves = [self._newest(known.get(wave.wave), wave) for wave in compiled.waves]
        # Whoever had the counting of differences begin anew meant it for good.
        counted = now.domains[self._domain].shadow_round if self._domain in now.domains else 0
        domain: Domain = msgspec.structs.replace(compiled, waves=waves, shadow_round=counted)
        return msgspec.structs.replace(
            now,
            upstreams={**now.upstreams, **self._upstreams()},
            domains={**now.domains, self._domain: domain},
            facade=plan.facade,
            auth=compile_auth(plan, self._context.env),
        )

    def _newest(self, known: Wave | None, compiled: Wave) -> Wave:
        if known is None or (compiled.bucket_from, compiled.bucket_to) != (known.bucket_from, known.bucket_to):
            return compiled
        mine = compiled.wave == self._wave and compiled.epoch >= known.epoch
        return compiled if mine else known

    def _upstreams(self) -> dict[str, Upstream]:
        plan = self._context.plan
        asked = [session.upstream for session in plan.auth.sessions] if plan.auth is not None else []
        names = dict.fromkeys((plan.legacy_upstream, plan.domain(self._domain).upstream, *asked))
        return {name: compile_upstream(plan, name, self._context.env) for name in names}
