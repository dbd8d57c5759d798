"""Snapshot: the first fill of a target."""

from cdc.snapshot.fill import Filled, Interrupted, fill

__all__ = ["Filled", "Interrupted", "fill"]
