"""Decoder of the logical replication protocol `pgoutput`, version 1, text values. No I/O.

Source: PostgreSQL manual, "Logical Replication Message Formats".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from struct import Struct, error
from typing import Any

import msgspec

from cdc.capture.types import Loader, loader
from cdc.change import Column, Message, Relation, Row, pg_time
from cdc.errors import ProtocolError

_INT32 = Struct("!i").unpack_from
_UINT32 = Struct("!I").unpack_from
_INT16 = Struct("!H").unpack_from
_BEGIN = Struct("!QqI").unpack_from
_COMMIT = Struct("!BQQq").unpack_from
_MESSAGE = Struct("!BQ").unpack_from

_NULL, _UNCHANGED, _TEXT = ord("n"), ord("u"), ord("t")
_KEY, _OLD, _NEW = ord("K"), ord("O"), ord("N")


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


class _Table(msgspec.Struct, frozen=True):
    relation: Relation
    columns: tuple[tuple[str, Loader], ...]


class Decoder:
    """Keeps the relations that the server has described on this connection."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
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
            raise ProtocolError(
                f"unknown pgoutput message {data[:1]!r}: is the slot's plugin pgoutput, with proto_version 1?"
            )
        try:
            return decode(data)
        except (IndexError, error, ValueError, ArithmeticError) as e:
            raise ProtocolError(f"pgoutput message {data[:1]!r} of {len(data)} bytes is damaged: {e}") from e

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
        self._tables[oid] = _Table(relation, tuple((c.name, loader(c.type_oid)) for c in columns))
        return relation

    def _table(self, data: bytes, at: int) -> _Table:
        (oid,) = _UINT32(data, at)
        table = self._tables.get(oid)
        if table is None:
            raise ProtocolError(f"a change of relation {oid} came before its description")
        return table

    def _insert(self, data: bytes) -> Insert:
        table = self._table(data, 1)
        _expect(data, 5, _NEW)
        new, _ = _row(data, 6, table)
        return Insert(table.relation, new)

    def _update(self, data: bytes) -> Update:
        table = self._table(data, 1)
        old: Row | None = None
        at = 5
        if data[at] == _KEY:
            old, at = _row(data, at + 1, table)
            old = _identity_only(old, table.relation)
        elif data[at] == _OLD:
            old, at = _row(data, at + 1, table)
        full = data[5] == _OLD
        _expect(data, at, _NEW)
        new, _ = _row(data, at + 1, table)
        if full and old is not None and len(new) < len(table.columns):
            new = {
                name: new[name] if name in new else old[name] for name, _ in table.columns if name in new or name in old
            }
        return Update(table.relation, new, old)

    def _delete(self, data: bytes) -> Delete:
        table = self._table(data, 1)
        if data[5] not in (_KEY, _OLD):
            raise ProtocolError(f"a delete without an old row: {data[5:6]!r}")
        old, _ = _row(data, 6, table)
        if data[5] == _KEY:
            old = _identity_only(old, table.relation)
        return Delete(table.relation, old)

    def _truncate(self, data: bytes) -> Truncate:
        (count,) = _UINT32(data, 1)
        options = data[5]
        relations = tuple(self._table(data, 6 + 4 * n).relation for n in range(count))
        return Truncate(relations, cascade=bool(options & 1), restart_identity=bool(options & 2))


def _row(data: bytes, at: int, table: _Table) -> tuple[Row, int]:
    (count,) = _INT16(data, at)
    at += 2
    if count != len(table.columns):
        raise ProtocolError(f"{table.relation.name}: a row of {count} columns, described were {len(table.columns)}")
    row: dict[str, Any] = {}
    for name, load in table.columns:
        kind = data[at]
        at += 1
        if kind == _TEXT:
            (size,) = _INT32(data, at)
            at += 4
            end = at + size
            if end > len(data):
                raise ProtocolError(f"{table.relation.name}.{name}: value is cut off")
            row[name] = load(data[at:end])
            at = end
        elif kind == _NULL:
            row[name] = None
        elif kind != _UNCHANGED:
            raise ProtocolError(f"{table.relation.name}.{name}: unknown kind of value {chr(kind)!r}")
    return row, at


def _identity_only(row: Row, relation: Relation) -> Row:
    """An old key comes as a whole row whose other columns are null."""
    return {c.name: row[c.name] for c in relation.columns if c.key and c.name in row}


def _expect(data: bytes, at: int, tag: int) -> None:
    if data[at] != tag:
        raise ProtocolError(f"expected {chr(tag)!r} in a {data[:1]!r} message, found {data[at : at + 1]!r}")


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
