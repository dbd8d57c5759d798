"""What can keep a comparison from being made; differences are a result, not an error."""

from __future__ import annotations

from cdc.errors import CdcError


class VerifyError(CdcError):
    """Raised when a side cannot be read as the mapping and the role need it."""
