"""Reads one source table in chunks: rows in the order of their keys, heap blocks, single keys, and keys that may be
gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.route import Route
from cdc.snapshot import chunks
from cdc.snapshot.chunks import Blocks, Heap
from cdc.snapshot.requests import Key, Scope
from cdc.snapshot.strangers import absent
from cdc.snapshot.table import describe, names_of, numbered, read
from cdc.snapshot.window import Chunk


class Rewritten(Exception):
    """Raised when rows do not lie any more where they lay (VACUUM FULL, CLUSTER, a changed type, TRUNCATE)."""


class Reader:
    """A chunk is what the connection sees at the moment, which a window chooses."""

    def __init__(self, source: psycopg.Connection[Any], route: Route, scope: Scope) -> None:
        """Raises: TableRefused."""
        self._source, self._route, self._scope = source, route, scope
        self._keys = chunks.keys_of(source, route.source, route.source_key)
        self._table = describe(source, route.source, route.source_key, route.source_columns)

    @property
    def nothing(self) -> Chunk:
        return Chunk(self._table)

    def expected(self) -> int:
        """About how many rows there are in the scope."""
        if self._scope.keys is not None:
            return len(self._scope.keys)
        where = self._keys.within(self._scope, None)
        return chunks.expected(self._source, chunks.select(self._route.source, sql.SQL("1"), where))

    def heap(self) -> Heap:
        return chunks.heap_of(self._source, self._route.source)

    def after(self, position: Key | None, size: int) -> Chunk:
        """The next rows of the scope, at most `size`."""
        order = sql.SQL("ORDER BY {} LIMIT {}").format(self._keys.names, sql.Literal(size))
        where = self._keys.within(self._scope, position)
        return self._rows(chunks.select(self._route.source, names_of(self._table), where, order))

    def within(self, blocks: Blocks, file: int | None) -> Chunk:
        """Raises: Rewritten when the table's rows lie in another file than that."""
        chunk = self._rows(chunks.select(self._route.source, names_of(self._table), chunks.in_blocks(blocks)))
        if self.heap().file != file:  # asked behind the read, whose lock keeps it as it is until the window's end
            raise Rewritten
        return chunk

    def at(self, keys: Sequence[Key]) -> Chunk:
        """The rows of these keys, and which of the keys no row has."""
        rows = self._rows(self._keys.rows_at(keys, [column.name for column in self._table.relation.columns]))
        return Chunk(self._table, rows.rows, absent(self._source, self._keys, keys))

    def still_gone(self, keys: Sequence[Key]) -> Chunk:
        return Chunk(self._table, (), absent(self._source, self._keys, keys))

    def gone(self, keys: Sequence[Key]) -> list[Key]:
        """Those of these keys that no row has."""
        return [tuple(text.decode() for text in key) for key in absent(self._source, self._keys, keys)]

    def last_key(self, chunk: Chunk) -> Key | None:
        if not chunk.rows:
            return None
        at = numbered(self._route.source_key, self._table)
        return tuple((chunk.rows[-1][n] or b"").decode() for n in at)

    def _rows(self, query: sql.Composable) -> Chunk:
        return Chunk(self._table, list(read(self._source, query)))
