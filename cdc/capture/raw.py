"""A row's change with its values as PostgreSQL wrote them: most are only carried, so they are not taken apart.

Equal to the `Change` that it gives. Values are text (PostgreSQL's output format), None, or UNCHANGED for a TOASTed
value that the update left alone. The applier copies them to the target as they are, where the mapping lets it.
"""

from __future__ import annotations

from struct import error
from typing import Any, Final

import msgspec

from cdc.capture.binary import Resolver
from cdc.capture.binary.scalars import Convert
from cdc.capture.types import Loader, loader
from cdc.change import Boundary, Change, Event, Operation, Relation, Row, Transaction
from cdc.errors import ProtocolError, Transient


class _Unchanged:
    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final[Any] = _Unchanged()

Values = list[Any]
"""bytes, None or UNCHANGED, one per column of the relation."""


class Described(msgspec.Struct, frozen=True, eq=False):
    """A relation, and how its values are read. One object as long as the server's description holds."""

    relation: Relation
    width: int
    positions: range
    loaders: tuple[Loader, ...]
    keys: tuple[int, ...]
    binary: tuple[Convert | None, ...] = ()

    def name(self, n: int) -> str:
        return f"{self.relation.name}.{self.relation.columns[n].name}"

    def text(self, n: int, data: bytes) -> bytes:
        """A value that came in binary, as text. Raises: ProtocolError, Transient for a type that is new."""
        if not self.binary:
            raise ProtocolError(f"{self.name(n)}: a binary value that was not asked for")
        convert = self.binary[n]
        if convert is None:
            raise Transient(f"{self.name(n)} has a type that was not there when the stream began")
        try:
            return convert(data)
        except (ValueError, LookupError, error) as e:
            raise ProtocolError(f"{self.name(n)}: damaged value: {e}") from e

    def row(self, values: Values) -> Row:
        """Raises: ProtocolError."""
        columns = self.relation.columns
        return {
            columns[n].name: None if value is None else self._load(n, value)
            for n, value in enumerate(values)
            if value is not UNCHANGED
        }

    def identity(self, values: Values) -> Row:
        """Of an old key, which comes as a whole row whose other columns are null. Raises: ProtocolError."""
        columns = self.relation.columns
        return {columns[n].name: self._load(n, values[n]) for n in self.keys if values[n] is not None}

    def _load(self, n: int, value: bytes) -> Any:
        try:
            return self.loaders[n](value)
        except (ValueError, ArithmeticError, IndexError) as e:
            raise ProtocolError(f"{self.name(n)}: damaged value: {e}") from e


class Raw(msgspec.Struct, frozen=True, gc=False):
    """`new` is None for a delete; `old` as in `Change.before`, the whole row when `full`."""

    op: Operation
    tx: Transaction
    lsn: int
    table: Described
    new: Values | None
    old: Values | None = None
    full: bool = False

    def before(self) -> Row | None:
        if self.old is None:
            return None
        return self.table.row(self.old) if self.full else self.table.identity(self.old)

    def change(self) -> Change:
        """Raises: ProtocolError."""
        after = None if self.new is None else self.table.row(self.new)
        return Change(self.op, self.tx, self.lsn, self.table.relation, self.before(), after)


Captured = Raw | Change | Boundary
"""What capture hands over: rows raw where the receiver takes them so."""


def as_event(captured: Captured) -> Event:
    return captured.change() if isinstance(captured, Raw) else captured


def described(relation: Relation, binary: Resolver | None = None) -> Described:
    """`binary` gives what turns binary values of a type into text."""
    columns = relation.columns
    return Described(
        relation=relation,
        width=len(columns),
        positions=range(len(columns)),
        loaders=tuple(loader(column.type_oid) for column in columns),
        keys=tuple(n for n, column in enumerate(columns) if column.key),
        binary=tuple(binary(column.type_oid) for column in columns) if binary is not None else (),
    )
