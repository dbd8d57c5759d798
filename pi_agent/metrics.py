"""The status as metrics, for node_exporter's textfile collector: written as a whole, then put in place."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

_PREFIX = "banyan_agent_"
#: name: (type, help, the status value that it is made of)
_PLAIN = {
    "soc_ratio": ("gauge", "State of charge, 0 to 1.", "soc"),
    "battery_watts": ("gauge", "Power that the battery reads; more than 0 charges.", "power_w"),
    "schedule_version": ("gauge", "Version of the schedule in force.", "schedule_version"),
    "assignment_epoch": ("gauge", "Highest epoch of the assignment that was seen.", "epoch"),
    "acks_pending": ("gauge", "Acks that wait for their delivery.", "pending_acks"),
    "acks_refused_total": ("counter", "Acks that a backend would not take.", "refused_acks"),
    "acks_dropped_total": ("counter", "Acks given up because too many waited.", "dropped_acks"),
    "clock_jumps_total": ("counter", "Jumps of the wall clock since the start.", "clock_jumps"),
    "clock_skew_seconds": ("gauge", "The server's clock minus ours.", "clock_skew_s"),
}
_PHASES = ("legacy", "trial", "v2", "reverted")
_MODES = ("charge", "discharge", "hold")


def text(status: dict[str, Any]) -> str:
    """In Prometheus' text format; what is not known is left out."""
    lines: list[str] = []

    def add(name: str, kind: str, purpose: str, samples: dict[str, float]) -> None:
        lines.extend((f"# HELP {_PREFIX}{name} {purpose}", f"# TYPE {_PREFIX}{name} {kind}"))
        lines.extend(f"{_PREFIX}{name}{labels} {value!r}" for labels, value in samples.items())

    for name, (kind, purpose, key) in _PLAIN.items():
        if status.get(key) is not None:
            add(name, kind, purpose, {"": float(status[key])})
    add("up", "gauge", "1 while the agent runs.", {"": float(status["state"] == "running")})
    add("fault", "gauge", "1 while the battery does not take its setpoint.", {"": float(status["fault"] is not None)})
    add("mode", "gauge", "What the battery is told.", {f'{{mode="{m}"}}': float(status["mode"] == m) for m in _MODES})
    phases = {f'{{phase="{p}"}}': float(status["phase"] == p) for p in _PHASES}
    add("backend_phase", "gauge", "Which backend is in charge, or on trial.", phases)
    if status["last_contact"]:
        at = datetime.fromisoformat(status["last_contact"]).timestamp()
        add("last_contact_timestamp_seconds", "gauge", "When a backend last gave an answer.", {"": at})
    at = datetime.fromisoformat(status["updated"]).timestamp()
    add("updated_timestamp_seconds", "gauge", "When this was written.", {"": at})
    return "\n".join(lines) + "\n"


def write(path: Path, status: dict[str, Any]) -> None:
    """node_exporter reads `*.prom` only: it never sees half a file. Raises: OSError."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text(status))
    temporary.chmod(0o644)
    temporary.replace(path)
