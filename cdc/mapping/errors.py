"""What can be wrong with a mapping.

MappingError          the file says something that cannot be: names file and line
ConversionError       a value that its converter cannot carry to the other side without loss
"""

from __future__ import annotations

from cdc.errors import CdcError


class MappingError(CdcError):
    """A mapping file that cannot be used; `line` counts from 1."""

    def __init__(self, reason: str, path: str = "", line: int | None = None) -> None:
        self.reason, self.path, self.line = reason, path, line
        where = f"{path}:{line}: " if line else f"{path}: " if path else ""
        super().__init__(where + reason)


class ConversionError(CdcError):
    """A row that has no faithful image on the other side; the applier parks its key."""
