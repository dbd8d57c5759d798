"""Decoder of the logical replication protocol `pgoutput`, versions 1 to 4, text and binary values. No I/O.

Source: PostgreSQL manual, "Logical Replication Message Formats". What a streamed transaction adds (versions 2 to 4: its
frame, and a transaction id in every message inside it) is `cdc.capture.streamed`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from struct import Struct, error

import msgspec

from cdc.capture.binary import Resolver
from cdc.capture.raw import UNCHANGED, Described, Raw, Values, described
from cdc.change import Column, Message, Operation, Relation, Row, Transaction, pg_time
from cdc.errors import ProtocolError

_INT32 = Struct("!i").unpack_from
_UINT32 = Struct("!I").unpack_from
_INT16 = Struct("!H").unpack_from
_SIZE = Struct("!xI").unpack_from
_BEGIN = Struct("!QqI").unpack_from
_COMMIT = Struct("!BQQq").unpack_from
_MESSAGE = Struct("!BQ").unpack_from

_NULL, _UNCHANGED, _TEXT, _BINARY = ord("n"), ord("u"), ord("t"), ord("b")
_KEY, _OLD, _NEW = ord("K"), ord("O"), ord("N")
_INSERT = ord("I")
_ROWS: dict[int, Operation] = {_INSERT: "c", ord("U"): "u", ord("D"): "d"}
_TWO_PHASE = b"bPKrp"


class Begin(msgspec.Struct, frozen=True, gc=False):
    commit_lsn: int
    commit_at: datetime
    xid: int


class Commit(msgspec.Struct, frozen=True, gc=False):
    commit_lsn: int
    end_lsn: int
    commit_at: datetime


class Origin(msgspec.Struct, frozen=True, gc=False):
    lsn: int
    name: str


class Type(msgspec.Struct, frozen=True, gc=False):
    oid: int
    schema: str
    name: str


class Insert(msgspec.Struct, frozen=True):
    relation: Relation
    new: Row


class Update(msgspec.Struct, frozen=True):
    """`new` lacks unchanged TOASTed columns; `old` is None unless the key changed or the identity is FULL."""

    relation: Relation
    new: Row
    old: Row | None


class Delete(msgspec.Struct, frozen=True):
    relation: Relation
    old: Row


class Truncate(msgspec.Struct, frozen=True):
    relations: tuple[Relation, ...]
    cascade: bool
    restart_identity: bool


class Emitted(msgspec.Struct, frozen=True, gc=False):
    lsn: int
    message: Message


Decoded = Begin | Commit | Origin | Type | Relation | Insert | Update | Delete | Truncate | Emitted


class Decoder:
    """Keeps the relations that the server has described on this connection."""

    def __init__(self, binary: Resolver | None = None) -> None:
        """`binary`: how binary values become text, where the stream was asked for them."""
        self._tables: dict[int, Described] = {}
        self._described: dict[bytes, Described] = {}  # the same by the four bytes of the OID, as they come
        self._binary = binary
        self._by_tag: dict[int, Callable[[bytes], Decoded]] = {
            ord("B"): _begin,
            ord("C"): _commit,
            ord("O"): _origin,
            ord("R"): self._relation,
            ord("Y"): _type,
            ord("I"): self._insert,
            ord("U"): self._update,
            ord("D"): self._delete,
            ord("T"): self._truncate,
            ord("M"): _emitted,
        }

    def decode(self, data: bytes | memoryview) -> Decoded:
        """Raises: ProtocolError."""
        data = bytes(data)
        decode = self._by_tag.get(data[0]) if data else None
        if decode is None:
            raise _unknown(data)
        try:
            return decode(data)
        except (IndexError, error, ValueError, ArithmeticError) as e:
            raise _damaged(data, e) from e

    def raw(self, data: bytes, tx: Transaction | None, lsn: int) -> Raw | None:
        """A row's change with its values as they came; None for every other message. Raises: ProtocolError."""
        tag = data[0] if data else 0
        if tag not in _ROWS:
            return None
        if tx is None:
            raise ProtocolError("a change came outside a transaction")
        try:
            if tag == _INSERT:
                table = self._described.get(data[1:5]) or self._table(data, 1)
                if data[5] != _NEW:
                    _expect(data, 5, _NEW)
                return Raw("c", tx, lsn, table, _values(data, 6, table)[0])
            return self._changed(data, _ROWS[tag], tx, lsn)
        except (IndexError, error) as e:
            raise _damaged(data, e) from e

    def _changed(self, data: bytes, op: Operation, tx: Transaction, lsn: int) -> Raw:
        """An update, or a delete, whose old row is the whole one or the identity only."""
        table = self._table(data, 1)
        tag, at = data[5], 5
        old: Values | None = None
        if tag in (_KEY, _OLD):
            old, at = _values(data, 6, table)
        elif op == "d":
            raise ProtocolError(f"a delete without an old row: {data[5:6]!r}")
        if op == "d":
            return Raw(op, tx, lsn, table, None, old, tag == _OLD)
        _expect(data, at, _NEW)
        new, _ = _values(data, at + 1, table)
        if tag == _OLD and old is not None and UNCHANGED in new:
            new = [before if value is UNCHANGED else value for value, before in zip(new, old, strict=True)]
        return Raw(op, tx, lsn, table, new, old, tag == _OLD)

    def _relation(self, data: bytes) -> Relation:
        (oid,) = _UINT32(data, 1)
        schema, at = _string(data, 5)
        table, at = _string(data, at)
        identity = chr(data[at])
        (count,) = _INT16(data, at + 1)
        at += 3
        columns: list[Column] = []
        for _ in range(count):
            key = bool(data[at] & 1)
            name, at = _string(data, at + 1)
            columns.append(Column(name=name, type_oid=_UINT32(data, at)[0], modifier=_INT32(data, at + 4)[0], key=key))
            at += 8
        relation = Relation(
            id=oid, schema=schema or "pg_catalog", table=table, columns=tuple(columns), identity=identity
        )
        self._tables[oid] = self._described[data[1:5]] = described(relation, self._binary)
        return relation

    def _table(self, data: bytes, at: int) -> Described:
        (oid,) = _UINT32(data, at)
        table = self._tables.get(oid)
        if table is None:
            raise ProtocolError(f"a change of relation {oid} came before its description")
        return table

    def _insert(self, data: bytes) -> Insert:
        table = self._table(data, 1)
        _expect(data, 5, _NEW)
        return Insert(table.relation, table.row(_values(data, 6, table)[0]))

    def _update(self, data: bytes) -> Update:
        raw = self._changed(data, "u", _NOBODY, 0)
        assert raw.new is not None
        return Update(raw.table.relation, raw.table.row(raw.new), raw.before())

    def _delete(self, data: bytes) -> Delete:
        raw = self._changed(data, "d", _NOBODY, 0)
        old = raw.before()
        assert old is not None
        return Delete(raw.table.relation, old)

    def _truncate(self, data: bytes) -> Truncate:
        (count,) = _UINT32(data, 1)
        options = data[5]
        relations = tuple(self._table(data, 6 + 4 * n).relation for n in range(count))
        return Truncate(relations, cascade=bool(options & 1), restart_identity=bool(options & 2))


_NOBODY = Transaction(0, 0, pg_time(0))


def _values(data: bytes, at: int, table: Described) -> tuple[Values, int]:
    """The columns of a row as they came, and where it ends. This runs for every row: a text value is a slice."""
    (count,) = _INT16(data, at)
    at += 2
    if count != table.width:
        raise ProtocolError(f"{table.relation.name}: a row of {count} columns, described were {table.width}")
    values: Values = []
    for n in table.positions:
        kind = data[at]
        if kind == _TEXT:
            (size,) = _SIZE(data, at)
            at += 5
            values.append(data[at : (at := at + size)])
        elif kind == _NULL:
            values.append(None)
            at += 1
        elif kind == _UNCHANGED:
            values.append(UNCHANGED)
            at += 1
        elif kind == _BINARY:
            (size,) = _SIZE(data, at)
            at += 5
            values.append(table.text(n, data[at : (at := at + size)]))
        else:
            raise ProtocolError(f"{table.name(n)}: unknown kind of value {chr(kind)!r}")
    if at > len(data):
        raise ProtocolError(f"{table.relation.name}: a value is cut off")
    return values, at


def _expect(data: bytes, at: int, tag: int) -> None:
    if data[at] != tag:
        raise ProtocolError(f"expected {chr(tag)!r} in a {data[:1]!r} message, found {data[at : at + 1]!r}")


def _unknown(data: bytes) -> ProtocolError:
    if data[:1] and data[0] in _TWO_PHASE:
        return ProtocolError("the slot was made with two_phase: make it again without, as prepare does")
    return ProtocolError(f"unknown pgoutput message {data[:1]!r}: is the slot's plugin pgoutput?")


def _damaged(data: bytes, e: Exception) -> ProtocolError:
    return ProtocolError(f"pgoutput message {data[:1]!r} of {len(data)} bytes is damaged: {e}")


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _begin(data: bytes) -> Begin:
    lsn, at, xid = _BEGIN(data, 1)
    return Begin(lsn, pg_time(at), xid)


def _commit(data: bytes) -> Commit:
    _, lsn, end, at = _COMMIT(data, 1)
    return Commit(lsn, end, pg_time(at))


def _origin(data: bytes) -> Origin:
    (lsn,) = Struct("!Q").unpack_from(data, 1)
    return Origin(lsn, _string(data, 9)[0])


def _type(data: bytes) -> Type:
    (oid,) = _UINT32(data, 1)
    schema, at = _string(data, 5)
    return Type(oid, schema, _string(data, at)[0])


def _emitted(data: bytes) -> Emitted:
    flags, lsn = _MESSAGE(data, 1)
    prefix, at = _string(data, 10)
    (size,) = _UINT32(data, at)
    content = data[at + 4 : at + 4 + size]
    if len(content) != size:
        raise ProtocolError(f"logical message {prefix!r} is cut off")
    return Emitted(lsn, Message(prefix=prefix, content=content, transactional=bool(flags & 1)))
