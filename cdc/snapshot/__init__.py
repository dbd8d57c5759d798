"""Snapshot: the first fill of a target, and reading again what a target should have, while it streams."""

from cdc.snapshot.brake import Interrupted
from cdc.snapshot.fill import Filled, fill
from cdc.snapshot.progress import Progress
from cdc.snapshot.refill import refill
from cdc.snapshot.windows import Windows

__all__ = ["Filled", "Interrupted", "Progress", "Windows", "fill", "refill"]
