"""Where imbalance prices come from; without it the service writes no commands of its own."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from services.chassis.errors import SettingsError
from services.devices.market.source import PARSERS, Source

PREFIX = "DEVICES_IMBALANCE_"


def load(environ: Mapping[str, str]) -> Source | None:
    """`DEVICES_IMBALANCE_URL`, `…_SCHEMA` (elia), `…_AREA` (NL), `…_KEY`. Raises: SettingsError."""
    url = environ.get(f"{PREFIX}URL")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{PREFIX}URL starts with https:// or http://, and names a host")
    schema = environ.get(f"{PREFIX}SCHEMA") or "elia"
    if schema not in PARSERS:
        raise SettingsError(f"{PREFIX}SCHEMA is one of: {', '.join(sorted(PARSERS))}")
    area = environ.get(f"{PREFIX}AREA") or "NL"
    if not area.isalnum() or len(area) > 8:
        raise SettingsError(f"{PREFIX}AREA is a market area, such as NL")
    return Source(url, schema, area, environ.get(f"{PREFIX}KEY", ""))
