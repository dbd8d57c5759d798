"""What holds a monolith together: its parts, and what of each reaches into another, with the evidence."""

from migration_plan.graph.build import build
from migration_plan.graph.model import Edge, Graph, Part, holding
from migration_plan.graph.order import RULE, Turn, order

__all__ = ["RULE", "Edge", "Graph", "Part", "Turn", "build", "holding", "order"]
