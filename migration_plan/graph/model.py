"""The picture as values: parts with their tables, and edges from the part that needs to the part that is needed."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["foreign key", "trigger", "function", "view", "query"]

#: Tables that nothing places: neither a mapping nor a file that declares them.
REST = "legacy"


class Part(msgspec.Struct, frozen=True):
    """A domain of the plan (`planned`), or what else stands together in the monolith."""

    name: str
    tables: list[str]
    planned: bool


class Edge(msgspec.Struct, frozen=True):
    """`source` touches `table`, which is `target`'s. `writes`: it changes rows there. `evidence`: where that is seen,
    `file:line` of the code, or the name of a thing in the database."""

    source: str
    target: str
    kind: Kind
    table: str
    writes: bool
    evidence: list[str]


class Graph(msgspec.Struct, frozen=True):
    """`code`: the folder whose code was read; None when none was, and only the database speaks."""

    parts: list[Part]
    edges: list[Edge]
    code: str | None = None

    def into(self, name: str) -> list[Edge]:
        return [edge for edge in self.edges if edge.target == name]

    def out_of(self, name: str) -> list[Edge]:
        return [edge for edge in self.edges if edge.source == name]


def holding(graph: Graph, domain: str) -> list[Edge]:
    """What of the monolith would break if `domain`'s tables went away: whoever touches them from outside, and triggers
    on them by which tables of other parts are kept."""
    fed = [edge for edge in graph.out_of(domain) if edge.kind == "trigger" and edge.writes]
    return [*graph.into(domain), *fed]
