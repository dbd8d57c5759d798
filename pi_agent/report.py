"""What the agent says of itself: the values of its status file, and the same as metrics."""

from __future__ import annotations

import os
from typing import Any

from pi_agent.core import Core


def values(core: Core, state: str) -> dict[str, Any]:
    controller, assignment = core.controller, core.assignment
    view, counts = controller.view, core.journal.counts()
    now, monotonic = core.clock.now(), core.clock.monotonic()
    skew_s = core.timekeeper.skew_s(now, monotonic)
    contact = core.last_contact
    return {
        "state": state,
        "pid": os.getpid(),
        "device_id": core.config.device_id,
        "backend": assignment.primary,
        "flag": core.flag.value,
        "phase": assignment.phase,
        "phase_reason": assignment.reason,
        "epoch": assignment.epoch,
        "last_contact": contact.isoformat(timespec="seconds") if contact else None,
        "last_error": core.last_error,
        "schedule_version": controller.schedule_version,
        "soc": round(view.reading.soc, 4) if view.reading else None,
        "power_w": view.reading.power_w if view.reading else None,
        "mode": view.applied.mode.value,
        "setpoint_w": view.applied.power_w,
        "ref": view.decision.setpoint.ref or None,
        "reason": view.decision.reason,
        "fault": view.fault,
        "pending_acks": counts.pending,
        "refused_acks": counts.refused,
        "dropped_acks": counts.dropped,
        "clock_jumps": view.clock_jumps,
        "clock_skew_s": None if skew_s is None else round(skew_s, 1),
        "updated": now.isoformat(timespec="milliseconds"),
    }
