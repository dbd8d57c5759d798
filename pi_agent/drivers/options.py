"""Reading a driver's table of the configuration: names are told, unknown ones are refused."""

from __future__ import annotations

from typing import Any

from pi_agent.errors import ConfigError


def known(table: dict[str, Any], names: set[str], prefix: str) -> None:
    """Raises: ConfigError."""
    if unknown := sorted(set(table) - names):
        raise ConfigError(f"unknown key {prefix}.{unknown[0]}: known are {', '.join(sorted(names))}")


def whole(table: dict[str, Any], key: str, prefix: str, low: int, high: int, default: int | None = None) -> int:
    """Raises: ConfigError."""
    value = table.get(key, default)
    if value is None:
        raise ConfigError(f"{prefix}.{key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{prefix}.{key} must be a whole number from {low} to {high}")
    return value


def number(table: dict[str, Any], key: str, prefix: str, default: float) -> float:
    """Not zero. Raises: ConfigError."""
    value = table.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < abs(value) < 1e9:
        raise ConfigError(f"{prefix}.{key} must be a number other than 0")
    return float(value)


def host(table: dict[str, Any], prefix: str) -> str:
    """Raises: ConfigError."""
    value = table.get("host")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{prefix}.host must be the inverter's name or address")
    return value
