"""What can go wrong in planning.

OptimizerError
├── BadInput          the question makes no sense; the text says what of it
└── NotPlanned        the planner failed or was too slow; rules can still answer
"""

from __future__ import annotations


class OptimizerError(Exception):
    """No plan was made."""


class BadInput(OptimizerError):
    """The question makes no sense: a number out of range, series of different lengths."""


class NotPlanned(OptimizerError):
    """The planner failed or was too slow; rules can still answer."""
