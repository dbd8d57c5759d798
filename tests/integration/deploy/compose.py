"""docker-compose.yml as Compose reads it: variables put in, anchors merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker-compose.yml"

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Z_]+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\})")


class VariableMissing(Exception):
    """A variable that the file requires is not set."""


def raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def load(env: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables. Raises: VariableMissing for `${NAME:?…}`."""
    filled: dict[str, Any] = _fill(raw(), env)
    return filled


def _fill(value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, env) for k, v in value.items() if not (isinstance(k, str) and k.startswith("x-"))}
    if isinstance(value, list):
        return [_fill(v, env) for v in value]
    return interpolate(value, env) if isinstance(value, str) else value


def interpolate(text: str, env: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        if found := env.get(match["name"]):
            return found
        if match["kind"] == ":-":
            return str(match["rest"])
        raise VariableMissing(f"{match['name']}: {match['rest'] or 'not set'}")

    return _VARIABLE.sub(value_of, text)


def variables(text: str) -> set[str]:
    return {match["name"] for match in _VARIABLE.finditer(text) if match["name"]}


def own(services: Mapping[str, Any]) -> dict[str, Any]:
    """The project's own services: those that are built here."""
    return {name: service for name, service in services.items() if "build" in service}


def is_job(service: Mapping[str, Any]) -> bool:
    return bool(service.get("restart") == "no")


def dependencies(service: Mapping[str, Any]) -> dict[str, str]:
    """Name → condition."""
    return {name: how["condition"] for name, how in service.get("depends_on", {}).items()}


def in_order(services: Mapping[str, Any]) -> list[str]:
    """Each after those that it depends on."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        for other in dependencies(services[name]):
            visit(other)
        if name not in ordered:
            ordered.append(name)

    for name in services:
        visit(name)
    return ordered


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """Path in the container → what is mounted there (a volume's name, or ./path)."""
    return {target: source for source, target, *_ in (volume.split(":") for volume in service.get("volumes", ()))}
