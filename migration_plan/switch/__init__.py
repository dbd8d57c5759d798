"""Moves a wave's writes from one side to the other, and ends what was interrupted."""

from migration_plan.switch.machine import Outcome, Switch
from migration_plan.switch.recover import Recovered, outlook, recover
from migration_plan.switch.resolve import Settled, locate, resolve
from migration_plan.switch.steps import STEPS, describe

__all__ = ["STEPS", "Outcome", "Recovered", "Settled", "Switch", "describe", "locate", "outlook", "recover", "resolve"]
