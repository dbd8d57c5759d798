"""An exhaustive model of a wave that changes hands: the real `recover` and `Switch`, run against every interleaving."""

from migration_plan.model.explore import Found, explore
from migration_plan.model.mutants import MUTANTS, Mutant
from migration_plan.model.state import LARGE, QUICK, Limits

__all__ = ["LARGE", "MUTANTS", "QUICK", "Found", "Limits", "Mutant", "explore"]
