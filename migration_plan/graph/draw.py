"""The picture for other programs: Graphviz and Mermaid. One arrow for all edges of a kind between two parts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from migration_plan.graph.model import Edge, Graph, Part


def dot(graph: Graph) -> str:
    lines = ["digraph monolith {", '  rankdir="LR"; node [shape=box];']
    for part in graph.parts:
        style = ", style=bold" if part.planned else ""
        lines.append(f"  {_quoted(part.name)} [label={_quoted(_label(part))}{style}];")
    lines += [
        f"  {_quoted(source)} -> {_quoted(target)} [label={_quoted(label)}{', color=red' if writes else ''}];"
        for source, target, label, writes in _arrows(graph)
    ]
    return "\n".join([*lines, "}"])


def mermaid(graph: Graph) -> str:
    lines = ["flowchart LR"]
    lines += [f"  {_identifier(part.name)}[{_quoted(_label(part), '<br/>')}]" for part in graph.parts]
    lines += [
        f"  {_identifier(source)} {'==>' if writes else '-->'}|{_quoted(label, '<br/>')}| {_identifier(target)}"
        for source, target, label, writes in _arrows(graph)
    ]
    return "\n".join(lines)


def short(table: str) -> str:
    return table.removeprefix("public.")


def _arrows(graph: Graph) -> Iterator[tuple[str, str, str, bool]]:
    between: dict[tuple[str, str], list[Edge]] = {}
    for edge in graph.edges:
        between.setdefault((edge.source, edge.target), []).append(edge)
    for (source, target), edges in between.items():
        label = "\n".join(f"{edge.kind}{' (writes)' if edge.writes else ''}: {short(edge.table)}" for edge in edges)
        yield source, target, label, any(edge.writes for edge in edges)


def _label(part: Part) -> str:
    return "\n".join([part.name, *map(short, part.tables)])


def _quoted(text: str, newline: str = "\\n") -> str:
    return json.dumps(text.replace('"', "'"), ensure_ascii=False).replace("\\n", newline)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", f"p_{name}")
