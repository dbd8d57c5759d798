"""The agent's configuration: one TOML file, checked as a whole before anything starts.

A wrong file is told with all that is wrong in it, each with its line.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pi_agent.errors import ConfigError, SlotError
from pi_agent.model import Slot
from pi_agent.slots import parse_text
from pi_agent.toml_lines import key_lines


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, save for the counts."""

    poll_s: float = 60.0
    #: The server is asked to keep a poll waiting so long for news (`Prefer: wait`); 0: never.
    wait_s: float = 20.0
    flags_s: float = 60.0
    control_s: float = 1.0
    request_timeout_s: float = 10.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 300.0
    #: Acks of schedules and slots go within so long, at the device's place in it; those of commands at once.
    ack_spread_s: float = 10.0
    stop_s: float = 5.0
    max_v2_errors: int = 3
    v2_retreat_s: float = 60.0
    v2_retreat_cap_s: float = 3600.0
    #: A trial of another backend is over after so long, and has to succeed so often in a row.
    trial_s: float = 60.0
    trial_pause_s: float = 1.0
    trial_successes: int = 2
    #: Acks whose issuer cannot be reached for so long go to the backend in charge, which hands them on.
    relay_s: float = 60.0
    #: Clock and server further apart than this: absolute times are not acted upon. 0 turns the check off.
    max_skew_s: float = 300.0
    #: Off line for so long: the fallback takes the schedule's place. 0: never.
    stale_s: float = 7 * 86_400.0
    #: How often the device service is told what the battery does.
    report_s: float = 60.0
    metrics_s: float = 15.0
    #: A refused ack (4xx) is tried so often in all, then recorded as refused.
    max_refusals: int = 5


_MAY_BE_ZERO = frozenset({"max_skew_s", "wait_s", "ack_spread_s", "stale_s", "relay_s", "trial_pause_s"})


@dataclass(frozen=True, slots=True)
class Battery:
    """What is attached; the limits hold whatever a schedule or a command says."""

    driver: str = "simulated"
    capacity_wh: int = 10_000
    max_power_w: int = 5_000
    soc_min: float = 0.05
    soc_max: float = 0.95
    #: How fast power may grow; 0: at once.
    max_ramp_w_s: float = 0.0
    #: Between a change of direction and the next; 0: none.
    min_dwell_s: float = 0.0
    min_celsius: float = -20.0
    max_celsius: float = 60.0
    initial_soc: float = 0.5
    trace: Path | None = None


#: What a driver is told of its own: the table `[sunspec]` or `[modbus]`, checked by the driver.
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Config:
    device_id: int
    token: str = field(repr=False)
    gateway_url: str
    state_dir: Path
    #: The device service itself, which keeps polls waiting; None: through the gateway, which does not.
    service_url: str | None = None
    flags_url: str | None = None
    run_dir: Path | None = None
    token_file: Path | None = None
    fallback: tuple[Slot, ...] = ()
    timing: Timing = Timing()
    battery: Battery = Battery()
    options: Options = field(default_factory=dict)

    @property
    def addresses(self) -> dict[str, str]:
        """By the names that requests go to."""
        known = {"gateway": self.gateway_url, "service": self.service_url or self.gateway_url}
        return known | ({"flags": self.flags_url} if self.flags_url else {})

    @property
    def database(self) -> Path:
        return self.state_dir / "agent.db"

    @property
    def status_file(self) -> Path:
        return (self.run_dir or self.state_dir) / "status.json"

    @property
    def metrics_file(self) -> Path:
        return (self.run_dir or self.state_dir) / "metrics.prom"


def load(path: Path) -> Config:
    """Relative paths in the file start from its folder. Raises: ConfigError, a line for each problem."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    problems: list[tuple[str, str]] = []
    config = _parse(data, path.parent, problems)
    if config is None or problems:
        lines = key_lines(text)
        told = sorted((_line(lines, key), message) for key, message in problems)
        raise ConfigError("\n".join(f"{path.name}:{line}: {m}" if line else f"{path.name}: {m}" for line, m in told))
    return config


def _line(lines: dict[str, int], key: str) -> int:
    """The key's line, or its table's; 0 for what is missing altogether."""
    return lines.get(key) or lines.get(key.rpartition(".")[0], 0)


Problems = list[tuple[str, str]]
_KNOWN = {
    "device_id", "token_file", "gateway_url", "service_url", "flags_url", "state_dir", "run_dir", "timing", "battery",
    "fallback", "sunspec", "modbus",
}  # fmt: skip


def _parse(data: dict[str, Any], folder: Path, problems: Problems) -> Config | None:
    """The configuration, or None with all that is wrong in `problems`: (key, message)."""
    _no_unknown(data, _KNOWN, "", problems)
    device_id = _get(data, "device_id", int, problems)
    if device_id is not None and device_id <= 0:
        problems.append(("device_id", "device_id must be 1 or more"))
    gateway_url = _url(data, "gateway_url", problems)
    flags_url = _url(data, "flags_url", problems) if "flags_url" in data else None
    service_url = _url(data, "service_url", problems) if "service_url" in data else None
    token_file = _get(data, "token_file", str, problems)
    token = None if token_file is None else _token(folder / token_file, problems)
    state_dir = _get(data, "state_dir", str, problems)
    run_dir = _get(data, "run_dir", str, problems) if "run_dir" in data else None
    timing = _timing(data.get("timing", {}), problems)
    battery, options = _battery(data, folder, problems)
    fallback = _fallback(data.get("fallback", {}), problems)
    if problems or device_id is None or gateway_url is None or token is None or state_dir is None:
        return None
    return Config(
        device_id=device_id,
        token=token,
        gateway_url=gateway_url,
        service_url=service_url,
        flags_url=flags_url,
        state_dir=folder / state_dir,
        token_file=folder / token_file if token_file is not None else None,
        run_dir=None if run_dir is None else folder / run_dir,
        fallback=fallback,
        timing=timing,
        battery=battery,
        options=options,
    )


def _timing(table: Any, problems: Problems) -> Timing:
    values = _numbers(table, Timing(), "timing", (), problems)
    for name in [n for n, v in values.items() if v < 0 or (v == 0 and n not in _MAY_BE_ZERO)]:
        problems.append((f"timing.{name}", f"timing.{name} must be more than 0"))
    timing = Timing(**values)
    if timing.stop_s > 8:
        problems.append(
            ("timing.stop_s", "timing.stop_s must be at most 8: the agent has to be gone 10 s after SIGTERM")
        )
    if timing.control_s > 60:
        problems.append(("timing.control_s", "timing.control_s must be at most 60: slots have minutes"))
    return timing


def _battery(data: dict[str, Any], folder: Path, problems: Problems) -> tuple[Battery, Options]:
    table = data.get("battery", {})
    values = _numbers(table, Battery(), "battery", ("driver", "trace"), problems)
    battery = Battery(**values)
    table = table if isinstance(table, dict) else {}
    driver, trace = table.get("driver", battery.driver), table.get("trace")
    if driver not in ("simulated", "sunspec", "modbus"):
        text = f"battery.driver {driver!r} is unknown: there are simulated, sunspec and modbus"
        problems.append(("battery.driver", text))
    elif driver != "simulated" and not isinstance(data.get(driver), dict):
        problems.append(("battery.driver", f"battery.driver {driver!r} needs a table [{driver}]"))
    for name in ("capacity_wh", "max_power_w"):
        if getattr(battery, name) <= 0:
            problems.append((f"battery.{name}", f"battery.{name} must be more than 0"))
    if not 0 <= battery.soc_min < battery.soc_max <= 1:
        key = "battery.soc_min" if "soc_min" in values else "battery.soc_max"
        problems.append((key, "battery.soc_min must be below battery.soc_max, both from 0 to 1"))
    if not 0 <= battery.initial_soc <= 1:
        problems.append(("battery.initial_soc", "battery.initial_soc must be from 0 to 1"))
    if battery.min_celsius >= battery.max_celsius:
        problems.append(("battery.min_celsius", "battery.min_celsius must be below battery.max_celsius"))
    for name in ("max_ramp_w_s", "min_dwell_s"):
        if getattr(battery, name) < 0:
            problems.append((f"battery.{name}", f"battery.{name} must be 0 or more"))
    if trace is not None and not isinstance(trace, str):
        problems.append(("battery.trace", "battery.trace must be a path"))
        trace = None
    options = data.get(driver, {}) if isinstance(driver, str) else {}
    made = dataclasses.replace(battery, driver=str(driver), trace=None if trace is None else folder / trace)
    return made, options if isinstance(options, dict) else {}


def _fallback(table: Any, problems: Problems) -> tuple[Slot, ...]:
    if not isinstance(table, dict) or set(table) - {"slots"} or not isinstance(table.get("slots", ""), str):
        problems.append(("fallback", 'fallback must be a table with slots = "HHMM-HHMM C|D|H<watts>;…"'))
        return ()
    try:
        return parse_text(table.get("slots", ""))
    except SlotError as error:
        problems.append(("fallback.slots", f"fallback.slots: {error}"))
        return ()


def _numbers(
    table: Any, defaults: Timing | Battery, name: str, others: Iterable[str], problems: Problems
) -> dict[str, Any]:
    """The table's values, each a number of the kind of its default; what is wrong is left out."""
    if not isinstance(table, dict):
        problems.append((name, f"{name} must be a table"))
        return {}
    kinds = {f.name: type(getattr(defaults, f.name)) for f in dataclasses.fields(defaults)}
    numbers = {k for k, kind in kinds.items() if kind in (int, float)}
    _no_unknown(table, numbers | set(others), f"{name}.", problems)
    values: dict[str, Any] = {}
    for key in [k for k in table if k in numbers]:
        value = table[key]
        wanted = (int,) if kinds[key] is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted) or not -1e9 < value < 1e9:
            kind = "whole number" if kinds[key] is int else "number"
            problems.append((f"{name}.{key}", f"{name}.{key} must be a {kind}"))
        else:
            values[key] = kinds[key](value)
    return values


def _no_unknown(table: dict[str, Any], known: set[str], prefix: str, problems: Problems) -> None:
    for key in sorted(set(table) - known):
        problems.append((prefix + key, f"unknown key {prefix}{key}: known are {', '.join(sorted(known))}"))


def _get(table: dict[str, Any], key: str, kind: type, problems: Problems) -> Any:
    if key not in table:
        problems.append((key, f"{key} is missing"))
        return None
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, kind):
        problems.append((key, f"{key} must be {'a whole number' if kind is int else 'text'}"))
        return None
    return value


def _url(table: dict[str, Any], key: str, problems: Problems) -> str | None:
    value: str | None = _get(table, key, str, problems)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        problems.append((key, f"{key} must be an http(s) address, not {value!r}"))
    return value.rstrip("/")


def _token(path: Path, problems: Problems) -> str | None:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(("token_file", f"cannot read token_file {path}: {error}"))
        return None
    if not token or not token.isascii() or not token.isprintable():
        problems.append(("token_file", f"token_file {path} must hold one line of printable ASCII"))
    return token
