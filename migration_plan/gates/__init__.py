"""Measured conditions for a step: figures, and what they allow."""

from migration_plan.gates.judge import (
    GATES,
    Finding,
    comparison_due,
    for_advance,
    for_switch,
    require,
    require_known,
    round_trip_due,
    stopping,
)
from migration_plan.gates.measured import GatewayFigures, Measured, RoundTrip, StreamFigures, Verified

__all__ = [
    "GATES",
    "Finding",
    "GatewayFigures",
    "Measured",
    "RoundTrip",
    "StreamFigures",
    "Verified",
    "comparison_due",
    "for_advance",
    "for_switch",
    "require",
    "require_known",
    "round_trip_due",
    "stopping",
]
