"""Changes as Kafka records and back. Pure; compiled once per relation, since it is the transport's hottest code.

Value: Debezium's payload without schema (decimal.handling.mode=string, the rest as by default). What a schema would say
of the columns rides in the header `banyan`, with the record's place in its session:

    <session>:<number in the partition, from 0>:[replica identity, [[name, type oid, modifier, in the identity], …]]

Records that Debezium wrote have no such header; with schemas they are read too, without one their strings stay strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from cdc.change import Change, Column, Operation, Relation, Row, Transaction
from cdc.debezium_decode import decoder
from cdc.debezium_modes import ABSENT, STRINGS
from cdc.debezium_types import encoder, unavailable
from cdc.envelope import from_debezium_json, source_of
from cdc.errors import EnvelopeError

HEADER = "banyan"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Coder = Callable[[Any], Any]


class Writer:
    """Changes of one relation to keys and values."""

    def __init__(self, relation: Relation, name: str, db: str, key: Sequence[str]) -> None:
        self.relation = relation
        columns = [[c.name, c.type_oid, c.modifier, c.key] for c in relation.columns]
        self.columns = orjson.dumps([relation.identity, columns])
        coders = {c.name: encoder(c, STRINGS) for c in relation.columns}
        self._key = [(column, coders[column]) for column in key]
        self._row = [(c.name, coders[c.name], unavailable(c, STRINGS)) for c in relation.columns]
        self._name, self._db = name, db
        self._tx: Transaction | None = None
        self._source: dict[str, Any] = {}

    def key(self, row: Row) -> bytes:
        return orjson.dumps({name: row[name] if code is None else code(row[name]) for name, code in self._key})

    def value(self, change: Change, micros: int) -> bytes:
        """`micros` is when the change was processed, since 1970."""
        if change.tx is not self._tx:
            self._source, self._tx = source_of(change, self._name, self._db), change.tx
        source, lsn = self._source, change.lsn
        source["lsn"] = lsn
        source["sequence"] = f'["{change.tx.commit_lsn}","{lsn}"]'
        payload = {
            "before": None if change.before is None else self._encode(change.before, before=True),
            "after": None if change.after is None else self._encode(change.after, before=False),
            "source": source,
            "transaction": None,
            "op": change.op,
            "ts_ms": micros // 1000,
            "ts_us": micros,
            "ts_ns": micros * 1000,
        }
        return orjson.dumps(payload)

    def _encode(self, row: Row, before: bool) -> Row:
        found: Row = {}
        for name, code, unknown in self._row:
            if name in row:
                value = row[name]
                found[name] = value if code is None or value is None else code(value)
            else:
                found[name] = None if before else unknown
        return found


class Reader:
    """Values of one relation, as its header describes it, to changes."""

    def __init__(self, table: str, columns: bytes) -> None:
        schema, name = table.split(".", 1)
        identity, described = orjson.loads(columns)
        self.relation = Relation(0, schema, name, tuple(Column(*column) for column in described), identity)
        self._row = [(c.name, code) for c in self.relation.columns if (code := decoder(c)) is not None]
        self._identity = None if identity == "f" else [c.name for c in self.relation.columns if c.key]
        self._tx: Transaction | None = None
        self._tx_key: tuple[Any, ...] = ()

    def change(self, value: bytes) -> Change:
        """Raises: EnvelopeError."""
        try:
            payload = orjson.loads(value)
            source = payload["source"]
            op: Operation = payload["op"]
            before, after = payload["before"], payload["after"]
            if before is not None:
                if self._identity is not None:
                    before = {name: before[name] for name in self._identity}
                self._decode(before)
            if after is not None:
                self._decode(after)
            return Change(
                op, self._transaction(source), source["lsn"] or 0, self.relation, before, after, None, op == "r"
            )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, ArithmeticError) as e:
            raise EnvelopeError(f"a record of {self.relation.name} is not ours: {type(e).__name__}: {e}") from e

    def _transaction(self, source: dict[str, Any]) -> Transaction:
        sequence = source["sequence"]
        commit = sequence[2 : sequence.index('"', 2)]
        key = (commit, source["txId"], source["origin"])
        if key != self._tx_key or self._tx is None:
            at = _EPOCH + timedelta(microseconds=source["ts_us"])
            self._tx = Transaction(source["txId"] or 0, int(commit), at, source["origin"], source["origin_lsn"])
            self._tx_key = key
        return self._tx

    def _decode(self, row: Row) -> None:
        """In place: the row is nobody else's."""
        for name, code in self._row:
            value = row.get(name)
            if value is not None:
                if (value := code(value)) is ABSENT:
                    del row[name]
                else:
                    row[name] = value


class Readers:
    """Readers by header; a table that changes its columns gets another header, and so another reader."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Reader] = {}

    def change(self, table: str, columns: bytes | None, value: bytes) -> Change:
        """`columns` is None for what Debezium wrote. Raises: EnvelopeError."""
        if columns is None:
            return from_debezium_json(value)
        reader = self._known.get((table, columns))
        if reader is None:
            try:
                reader = self._known[table, columns] = Reader(table, columns)
            except (ValueError, TypeError) as e:
                raise EnvelopeError(f"the header of a record of {table} is not ours: {e}") from e
        return reader.change(value)


def header(session: str, number: int, columns: bytes) -> bytes:
    return b"%s:%d:%s" % (session.encode(), number, columns)


def read_header(headers: Sequence[tuple[str, bytes]]) -> tuple[str, int, bytes] | None:
    """(session, number, columns); None for a record of somebody else. Raises: EnvelopeError."""
    for name, value in headers:
        if name == HEADER:
            try:
                session, number, columns = value.split(b":", 2)
                return session.decode(), int(number), columns
            except ValueError as e:
                raise EnvelopeError(f"header {HEADER} is not ours: {value[:80]!r}") from e
    return None


def now() -> datetime:
    return datetime.now(UTC)
