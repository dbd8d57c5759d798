"""What a row of one side looks like on the other: declared once per domain, used in both directions."""

from cdc.mapping.errors import ConversionError, MappingError
from cdc.mapping.law import Violation, check
from cdc.mapping.lint import Finding, declared, lint, lint_databases
from cdc.mapping.load import load
from cdc.mapping.reference import bind
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
    "bind",
    "check",
    "declared",
    "lint",
    "lint_databases",
    "load",
]
