"""Compares two sides of a domain while both live: what it reports is drift, never lag."""

from cdc.verify.errors import VerifyError
from cdc.verify.report import Difference, Report, TableReport
from cdc.verify.run import Progress, verify

__all__ = ["Difference", "Progress", "Report", "TableReport", "VerifyError", "verify"]
