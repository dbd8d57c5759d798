"""The durable, append-only record of every step, and where every wave stands."""

from migration_plan.ledger.chain import Checked, Entry, Row
from migration_plan.ledger.ledger import Ledger, State, install, is_installed

__all__ = ["Checked", "Entry", "Ledger", "Row", "State", "install", "is_installed"]
