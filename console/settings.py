"""The console's settings, from the environment (docs/architecture.md §2)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_STREAM = re.compile(r"^BANYAN_CDC_(?P<domain>[A-Z0-9_]+)_(?P<direction>FORWARD|REVERSE)_URL$")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the sources are. Empty: the source is not configured, and the page says so."""

    gateway_admin_url: str = ""
    gateway_admin_token: str = field(default="", repr=False)
    ledger_dsn: str = field(default="", repr=False)
    streams: Mapping[str, str] = field(default_factory=dict)  # `pricing.forward` → URL
    components: Mapping[str, str] = field(default_factory=dict)  # name → health URL
    poll_s: float = 1.0
    history_s: int = 600
    viewers: int = 50

    @property
    def domains(self) -> tuple[str, ...]:
        """Those that have streams: known even before the gateway answers."""
        return tuple(dict.fromkeys(name.split(".")[0] for name in self.streams))

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        streams = {}
        for name, url in sorted(env.items()):
            if (match := _STREAM.match(name)) and url:
                domain = match["domain"].lower().replace("_", "-")
                streams[f"{domain}.{match['direction'].lower()}"] = url.rstrip("/")
        return cls(
            gateway_admin_url=env.get("BANYAN_GATEWAY_ADMIN_URL", "").rstrip("/"),
            gateway_admin_token=env.get("GATEWAY_VIEWER_TOKEN") or env.get("GATEWAY_ADMIN_TOKEN", ""),
            ledger_dsn=env.get("BANYAN_LEDGER_DSN", ""),
            streams=_in_order(streams),
            components=_components(env, streams),
        )


def _in_order(streams: Mapping[str, str]) -> dict[str, str]:
    """pricing first: it is the domain that moves first; then by name."""
    return dict(sorted(streams.items(), key=lambda item: (not item[0].startswith("pricing."), item[0])))


def _components(env: Mapping[str, str], streams: Mapping[str, str]) -> dict[str, str]:
    found = {"monolith": ("BANYAN_LEGACY_URL", "/health")}
    for domain in dict.fromkeys(name.split(".")[0] for name in _in_order(streams)):
        found[f"{domain} service"] = (f"BANYAN_{domain.upper().replace('-', '_')}_URL", "/readyz")
    return {name: env[variable].rstrip("/") + path for name, (variable, path) in found.items() if env.get(variable)}
