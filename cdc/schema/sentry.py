"""Stands in the way of changes: what is told of DDL, and what pgoutput describes, is judged first. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from cdc.apply.route import Route, Routes
from cdc.change import Message, Relation
from cdc.errors import SchemaChanged
from cdc.schema.judge import Difference, Policy, differences, source_problems, stopping
from cdc.schema.shape import Shape, described

DDL = "banyan.ddl"

# Somebody has resumed the stream, and its transactions up to then hold rows that the mapping of now does not fit.
MIXED = (
    "these rows are of a shape before the one that was resumed, and no mapping fits both: resume with the mapping of"
    " then, or bring the rows over again (`recover --force`)"
)

log = structlog.get_logger("cdc.schema")


class Told(msgspec.Struct, frozen=True):
    """A message of the event trigger (watch.sql)."""

    stream: str
    table: str
    tag: str
    role: str
    before: Shape | None = None
    after: Shape | None = None


class Sentry:
    """Of one stream's source. `accepted`: shapes by table, which it keeps up to date; `changed`: those to be stored."""

    def __init__(
        self,
        stream: str,
        routes: Routes,
        accepted: Mapping[str, Shape],
        policies: Mapping[str, Policy] | None = None,
        through: int = 0,
    ) -> None:
        """`through`: changes of transactions that committed up to here were looked at by a person."""
        self._stream, self._routes, self._through = stream, routes, through
        self._policies = dict(policies or {})
        self.accepted = dict(accepted)
        self.changed: dict[str, Shape] = {}
        self._ids = {shape.id: table for table, shape in self.accepted.items()}

    def told(self, message: Message, commit_lsn: int) -> None:
        """Raises: SchemaChanged when the stream must stop before this transaction."""
        try:
            told = msgspec.json.decode(message.content, type=Told)
        except msgspec.MsgspecError as e:
            log.warning("message of a schema change is not understood", prefix=DDL, error=str(e))
            return
        routes = self._routes.of_table(told.table)
        if told.stream != self._stream or not routes:
            return
        for route in routes:
            self._judge(route, differences(told.before, told.after), commit_lsn, f"{told.tag} by {told.role}")
        if told.after is not None:
            self._accept(told.table, told.after)

    def described(self, relation: Relation, commit_lsn: int) -> None:
        """Raises: SchemaChanged when the stream must stop before this transaction."""
        table = self._ids.get(relation.id, relation.name)
        routes = self._routes.of_table(table)
        if not routes:
            return
        shape, before = described(relation), self.accepted.get(table)
        if before is not None:
            found = differences(before, shape, told=False)
            if not found:
                return
            for route in routes:
                self._judge(route, found, commit_lsn, "as its rows come now")
            shape = _completed(shape, before)
        if problems := [problem for route in routes for problem in source_problems(route, shape)]:
            mixed = f"; {MIXED}" if commit_lsn <= self._through else ""
            raise SchemaChanged("; ".join(problems) + mixed, table=table, lsn=commit_lsn)
        self._accept(table, shape)

    def _judge(self, route: Route, found: tuple[Difference, ...], commit_lsn: int, how: str) -> None:
        policy = policy_of(self._policies, route)
        stops = stopping(found, "source", route.source_columns, policy)
        if stops and commit_lsn > self._through:
            words = "; ".join(difference.words for difference in stops)
            raise SchemaChanged(f"{route.source}: {words} ({how})", table=route.source, lsn=commit_lsn)
        log.info(
            "schema change passes",
            stream=self._stream,
            table=route.source,
            changes=[difference.words for difference in found],
            because="resumed" if stops else policy,
        )

    def _accept(self, table: str, shape: Shape) -> None:
        self.accepted[table] = self.changed[table] = shape
        self._ids = {known.id: name for name, known in self.accepted.items()}


def policy_of(policies: Mapping[str, Policy], route: Route) -> Policy:
    """A table's own, by either name; else the stream's, under the empty name; else `stop`."""
    return policies.get(route.source) or policies.get(route.target) or policies.get("", "stop")


def _completed(shape: Shape, before: Shape) -> Shape:
    """What pgoutput does not tell stays as it was."""
    known: dict[str, Any] = {column.name: column for column in before.columns}
    columns = tuple(
        msgspec.structs.replace(column, not_null=known[column.name].not_null, default=known[column.name].default)
        if column.name in known
        else column
        for column in shape.columns
    )
    return msgspec.structs.replace(shape, columns=columns, unique=before.unique, published=before.published)
