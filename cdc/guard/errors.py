"""What can go wrong with ownership; every message says what happened and what to do.

GuardError            the guard cannot be installed or used as asked
├── FenceTimeout      writers held the tables longer than the lock timeout: nothing changed, try again
└── OwnershipChanged  the wave has another owner or epoch than expected: nothing changed, read it again
"""

from __future__ import annotations

from cdc.errors import CdcError


class GuardError(CdcError):
    """Raised when the guard cannot be installed, or a function of it was asked for something that cannot be."""


class FenceTimeout(GuardError):
    """Raised when in-flight writers did not finish within the lock timeout. Nothing was changed.

    `held_by`: who is known to hold a table, such as an autovacuum that does not give way, and what helps.
    """

    def __init__(self, message: str, held_by: str | None = None) -> None:
        super().__init__(message)
        self.held_by = held_by


class OwnershipChanged(GuardError):
    """Raised when owner or epoch are not what the caller knew (SQLSTATE BN409). Nothing was changed."""
