"""What a row of one side looks like on the other: declared once per domain, used in both directions."""

from cdc.mapping.errors import ConversionError, MappingError
from cdc.mapping.law import Violation, check, check_database
from cdc.mapping.lint import Finding, lint, lint_databases
from cdc.mapping.load import load
from cdc.mapping.table import Direction, Row, Side, TableMapping
from cdc.mapping.table import DomainMapping as Mapping

__all__ = [
    "ConversionError",
    "Direction",
    "Finding",
    "Mapping",
    "MappingError",
    "Row",
    "Side",
    "TableMapping",
    "Violation",
    "check",
    "check_database",
    "lint",
    "lint_databases",
    "load",
]
