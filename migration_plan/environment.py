"""Variables by name, with an error that says which one is missing and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from cdc.environment import missing
from migration_plan.errors import NotConfigured


def need(env: Mapping[str, str], name: str) -> str:
    """Raises: NotConfigured."""
    if value := env.get(name, "").strip():
        return value
    raise NotConfigured(missing(name, env))
