"""In which order the parts may leave: the one that fewest others reach into goes first. Pure."""

from __future__ import annotations

import msgspec

from migration_plan.graph.model import REST, Graph

RULE = (
    "fewest edges into it first: what others read or write directly must be given another way first; of equals the one"
    " with fewer edges out of it; a part that has left reaches into nothing any more"
)


class Turn(msgspec.Struct, frozen=True):
    """`into` and `out_of`: edges with parts that are still there at its turn."""

    name: str
    planned: bool
    into: int
    out_of: int
    by: list[str]


def order(graph: Graph) -> list[Turn]:
    """Every part that has tables, but for what nothing places."""
    left = {part.name: part for part in graph.parts if part.tables and part.name != REST}
    gone: set[str] = set()
    turns = []
    while left:
        counted = {}
        for name in left:
            into = [edge for edge in graph.into(name) if edge.source not in gone]
            counted[name] = (len(into), sum(edge.target not in gone for edge in graph.out_of(name)), name)
        name = min(counted, key=lambda one: counted[one])
        into_count, out_count, _ = counted[name]
        by = sorted({edge.source for edge in graph.into(name) if edge.source not in gone})
        turns.append(Turn(name, left.pop(name).planned, into_count, out_count, by))
        gone.add(name)
    return turns
