"""Measured conditions for a step: figures, and what they allow."""

from migration_plan.gates.judge import Finding, for_advance, for_switch, require
from migration_plan.gates.measured import GatewayFigures, Measured, StreamFigures, Verified

__all__ = ["Finding", "GatewayFigures", "Measured", "StreamFigures", "Verified", "for_advance", "for_switch", "require"]
