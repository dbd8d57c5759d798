"""A change of one domain, as PATCH takes it. Pure."""

from __future__ import annotations

import msgspec

from gateway.control.table import Owner, Phase, RouteTable
from gateway.errors import TableRefused


class DomainChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is None stays as it is; `wave` None: all waves."""

    reason: str
    wave: int | None = None
    phase: Phase | None = None
    canary_percent: float | None = None
    owner: Owner | None = None
    epoch: int | None = None
    hold: bool | None = None
    shadow_percent: float | None = None

    def apply(self, table: RouteTable, name: str) -> RouteTable:
        """Raises: TableRefused for a wave that is not there, or a change that changes nothing."""
        domain = table.domains[name]
        named = ("phase", "canary_percent", "owner", "epoch", "hold")
        changes = {field: value for field in named if (value := getattr(self, field)) is not None}
        if not changes and self.shadow_percent is None:
            raise TableRefused([f"nothing to change: give {', '.join(named)} or shadow_percent"])
        if self.wave is not None and all(wave.wave != self.wave for wave in domain.waves):
            raise TableRefused([f"domain {name} has no wave {self.wave}"])
        waves = [
            msgspec.structs.replace(wave, **changes) if self.wave in (None, wave.wave) else wave
            for wave in domain.waves
        ]
        share = domain.shadow_percent if self.shadow_percent is None else self.shadow_percent
        changed = msgspec.structs.replace(domain, waves=waves, shadow_percent=share)
        return msgspec.structs.replace(table, domains={**table.domains, name: changed})
