"""What an operator does: each verb checks, records, acts, and can be run again after a crash."""

from migration_plan.verbs.abort import abort
from migration_plan.verbs.complete import complete
from migration_plan.verbs.freeze import Marked, freeze, unfreeze
from migration_plan.verbs.preflight import Preflight, preflight
from migration_plan.verbs.prepare import Prepared, prepare
from migration_plan.verbs.publish import Published, publish
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.step import advance, canary, rollback, shadow, switch

__all__ = [
    "Gate",
    "Marked",
    "Preflight",
    "Prepared",
    "Published",
    "Result",
    "abort",
    "advance",
    "canary",
    "complete",
    "freeze",
    "preflight",
    "prepare",
    "publish",
    "rollback",
    "shadow",
    "switch",
    "unfreeze",
]
