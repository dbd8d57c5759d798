"""The agent's configuration: one TOML file, checked as a whole before anything starts."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pi_agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, save for the two counts."""

    poll_s: float = 60.0
    flags_s: float = 60.0
    control_s: float = 1.0
    request_timeout_s: float = 10.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 300.0
    stop_s: float = 5.0
    max_v2_errors: int = 3
    v2_retreat_s: float = 60.0
    v2_retreat_cap_s: float = 3600.0
    #: Clock and server further apart than this: absolute times are not acted upon. 0 turns the check off.
    max_skew_s: float = 300.0
    #: A refused ack (4xx) is tried so often in all, then recorded as refused.
    max_refusals: int = 5


@dataclass(frozen=True, slots=True)
class Battery:
    """What is attached; the limits hold whatever a schedule or a command says."""

    driver: str = "simulated"
    capacity_wh: int = 10_000
    max_power_w: int = 5_000
    soc_min: float = 0.05
    soc_max: float = 0.95
    initial_soc: float = 0.5
    trace: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    device_id: int
    token: str = field(repr=False)
    gateway_url: str
    state_dir: Path
    flags_url: str | None = None
    timing: Timing = Timing()
    battery: Battery = Battery()

    @property
    def database(self) -> Path:
        return self.state_dir / "agent.db"

    @property
    def status_file(self) -> Path:
        return self.state_dir / "status.json"


def load(path: Path) -> Config:
    """Relative paths in the file start from its folder. Raises: ConfigError."""
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return parse(data, path.parent)


def parse(data: dict[str, Any], folder: Path) -> Config:
    """Raises: ConfigError, naming the key."""
    known = {"device_id", "token_file", "gateway_url", "flags_url", "state_dir", "timing", "battery"}
    _no_unknown(data, known, "")
    device_id = _get(data, "device_id", int)
    if device_id <= 0:
        raise ConfigError("device_id must be 1 or more")
    flags_url = data.get("flags_url")
    return Config(
        device_id=device_id,
        token=_token(folder / _get(data, "token_file", str)),
        gateway_url=_url(data, "gateway_url"),
        flags_url=None if flags_url is None else _url(data, "flags_url"),
        state_dir=folder / _get(data, "state_dir", str),
        timing=_timing(data.get("timing", {})),
        battery=_battery(data.get("battery", {}), folder),
    )


def _timing(table: Any) -> Timing:
    values = _numbers(table, Timing(), "timing")
    for name, value in values.items():
        if value < 0 or (value == 0 and name != "max_skew_s"):
            raise ConfigError(f"timing.{name} must be more than 0")
    timing = Timing(**values)
    if timing.stop_s > 8:
        raise ConfigError("timing.stop_s must be at most 8: the agent has to be gone 10 s after SIGTERM")
    if timing.control_s > 60:
        raise ConfigError("timing.control_s must be at most 60: slots have minutes")
    return timing


def _battery(table: Any, folder: Path) -> Battery:
    if not isinstance(table, dict):
        raise ConfigError("battery must be a table")
    rest = {k: v for k, v in table.items() if k not in ("driver", "trace")}
    battery = Battery(**_numbers(rest, Battery(), "battery"))
    driver = table.get("driver", battery.driver)
    if driver != "simulated":
        raise ConfigError(f"battery.driver {driver!r} is unknown: only 'simulated' is built in")
    if battery.capacity_wh <= 0 or battery.max_power_w <= 0:
        raise ConfigError("battery.capacity_wh and battery.max_power_w must be more than 0")
    if not 0 <= battery.soc_min < battery.soc_max <= 1:
        raise ConfigError("battery.soc_min must be below battery.soc_max, both from 0 to 1")
    if not 0 <= battery.initial_soc <= 1:
        raise ConfigError("battery.initial_soc must be from 0 to 1")
    trace = table.get("trace")
    if trace is not None and not isinstance(trace, str):
        raise ConfigError("battery.trace must be a path")
    return dataclasses.replace(battery, trace=None if trace is None else folder / trace)


def _numbers(table: Any, defaults: Timing | Battery, name: str) -> dict[str, Any]:
    """The table's values, each a number of the kind of its default."""
    if not isinstance(table, dict):
        raise ConfigError(f"{name} must be a table")
    kinds = {f.name: type(getattr(defaults, f.name)) for f in dataclasses.fields(defaults)}
    _no_unknown(table, {k for k, kind in kinds.items() if kind in (int, float)}, f"{name}.")
    values: dict[str, Any] = {}
    for key, value in table.items():
        wanted = (int,) if kinds[key] is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted) or not -1e9 < value < 1e9:
            raise ConfigError(f"{name}.{key} must be a {'whole number' if kinds[key] is int else 'number'}")
        values[key] = kinds[key](value)
    return values


def _no_unknown(table: dict[str, Any], known: set[str], prefix: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigError(f"unknown key {prefix}{unknown[0]}: known are {', '.join(sorted(known))}")


def _get(table: dict[str, Any], key: str, kind: type) -> Any:
    if key not in table:
        raise ConfigError(f"{key} is missing")
    value = table[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{key} must be {'a whole number' if kind is int else 'text'}")
    return value


def _url(table: dict[str, Any], key: str) -> str:
    value: str = _get(table, key, str)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{key} must be an http(s) address, not {value!r}")
    return value.rstrip("/")


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read token_file {path}: {error}") from None
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"token_file {path} must hold one line of printable ASCII")
    return token
