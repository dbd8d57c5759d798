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
    shadow_writes: float | None = None
    shadow_round: int | None = None

    def apply(self, table: RouteTable, name: str) -> RouteTable:
        """Raises: TableRefused for a wave that is not there, or a change that changes nothing."""
        domain = table.domains[name]
        named = ("phase", "canary_percent", "owner", "epoch", "hold")
        changes = {field: value for field in named if (value := getattr(self, field)) is not None}
        of_domain = ("shadow_percent", "shadow_writes", "shadow_round")
        shares = {field: value for field in of_domain if (value := getattr(self, field)) is not None}
        if not changes and not shares:
            raise TableRefused([f"nothing to change: give {', '.join((*named, *of_domain))}"])
        if self.wave is not None and all(wave.wave != self.wave for wave in domain.waves):
            raise TableRefused([f"domain {name} has no wave {self.wave}"])
        waves = [
            msgspec.structs.replace(wave, **changes) if self.wave in (None, wave.wave) else wave
            for wave in domain.waves
        ]
        changed = msgspec.structs.replace(domain, waves=waves, **shares)
        return msgspec.structs.replace(table, domains={**table.domains, name: changed})
