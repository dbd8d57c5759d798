"""Variables by name, with an error that says which one is missing and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from migration_plan.errors import NotConfigured


def need(env: Mapping[str, str], name: str) -> str:
    """Raises: NotConfigured."""
    if value := env.get(name, "").strip():
        return value
    raise NotConfigured(f"{name} is not set: start the stack with `banyan up` (it writes .banyan/env), or set it")
