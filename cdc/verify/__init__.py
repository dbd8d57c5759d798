"""Compares two sides of a domain while both live: what it reports is drift, never lag."""

from cdc.verify.errors import VerifyError
from cdc.verify.report import Difference, Report, TableReport
from cdc.verify.run import Patience, Progress, verify
from cdc.verify.touches import Carrier

__all__ = ["Carrier", "Difference", "Patience", "Progress", "Report", "TableReport", "VerifyError", "verify"]
