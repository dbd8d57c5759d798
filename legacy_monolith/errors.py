"""What goes wrong in the monolith.

LegacyError
├── ApiError        an answer with a status and `{"error": …}`
└── CommandError    one line for whoever typed the command: what, and what to do
"""

from __future__ import annotations


class LegacyError(Exception):
    """Something expected went wrong."""


class ApiError(LegacyError):
    """The request is refused; the transaction is rolled back."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class CommandError(LegacyError):
    """A command cannot go on."""
