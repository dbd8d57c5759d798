"""What an operator does: each verb checks, records, acts, and can be run again after a crash."""

from migration_plan.verbs.freeze import Marked, freeze, unfreeze
from migration_plan.verbs.prepare import Prepared, prepare
from migration_plan.verbs.publish import Published, publish
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.step import advance, rollback, switch

__all__ = [
    "Gate",
    "Marked",
    "Prepared",
    "Published",
    "Result",
    "advance",
    "freeze",
    "prepare",
    "publish",
    "rollback",
    "switch",
    "unfreeze",
]
