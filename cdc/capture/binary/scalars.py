"""Values of the built-in types without parts: numbers, texts, addresses, bits.

Source: the send and output functions of PostgreSQL's src/backend/utils/adt.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from struct import Struct
from uuid import UUID

from cdc.capture.binary import calendar

Convert = Callable[[bytes], bytes]

_NUMERIC = Struct("!hhHh").unpack_from
_NEGATIVE, _NAN, _PLUS, _MINUS = 0x4000, 0xC000, 0xD000, 0xF000


def _integer(layout: str) -> Convert:
    unpack = Struct(layout).unpack
    return lambda data: b"%d" % unpack(data)[0]


def _float(layout: str, digits: int) -> Convert:
    unpack = Struct(layout).unpack

    def convert(data: bytes) -> bytes:
        (value,) = unpack(data)
        if value != value:
            return b"NaN"
        if value in (float("inf"), float("-inf")):
            return b"Infinity" if value > 0 else b"-Infinity"
        return (repr(value) if digits == 17 else f"{value:.{digits}g}").encode()

    return convert


def numeric(data: bytes) -> bytes:
    count, weight, sign, scale = _NUMERIC(data)
    if sign >= _NAN:
        return {_NAN: b"NaN", _PLUS: b"Infinity", _MINUS: b"-Infinity"}[sign]
    groups = Struct(f"!{count}H").unpack_from(data, 8)
    whole = "".join(f"{groups[n] if n < count else 0:04}" for n in range(weight + 1)).lstrip("0") or "0"
    tail = "".join(f"{groups[n] if 0 <= n < count else 0:04}" for n in range(weight + 1, weight + 1 + (scale + 3) // 4))
    text = f"{whole}.{tail[:scale]}" if scale else whole
    return (f"-{text}" if sign == _NEGATIVE else text).encode()


def text(data: bytes) -> bytes:
    return data


def _boolean(data: bytes) -> bytes:
    return b"t" if data == b"\1" else b"f"


def _byte(data: bytes) -> bytes:
    """Type "char"."""
    return b"" if data == b"\0" else data if data[0] < 0x80 else b"\\%03o" % data[0]


def _jsonb(data: bytes) -> bytes:
    if data[:1] != b"\1":
        raise ValueError(f"jsonb of version {data[0]}")
    return data[1:]


def _address(data: bytes) -> bytes:
    """inet and cidr."""
    family, bits, is_cidr, _ = data[:4]
    packed = data[4:]
    shown = str(ipaddress.IPv4Address(packed) if family == 2 else ipaddress.IPv6Address(packed))
    return (shown if bits == len(packed) * 8 and not is_cidr else f"{shown}/{bits}").encode()


def _hardware(data: bytes) -> bytes:
    return data.hex(":").encode()


def _bits(data: bytes) -> bytes:
    (count,) = Struct("!i").unpack_from(data)
    return "".join(f"{byte:08b}" for byte in data[4:])[:count].encode()


def _money(data: bytes) -> bytes:
    """Without currency, which every locale reads back; two decimals, as all but a few locales have."""
    (amount,) = Struct("!q").unpack(data)
    whole, cents = divmod(abs(amount), 100)
    return f"{'-' if amount < 0 else ''}{whole}.{cents:02}".encode()


def _lsn(data: bytes) -> bytes:
    (lsn,) = Struct("!Q").unpack(data)
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}".encode()


def _tsvector(data: bytes) -> bytes:
    (count,) = Struct("!I").unpack_from(data)
    at, shown = 4, []
    for _ in range(count):
        end = data.index(b"\0", at)
        word = data[at:end].replace(b"\\", b"\\\\").replace(b"'", b"''")
        (places,) = Struct("!H").unpack_from(data, end + 1)
        packed = Struct(f"!{places}H").unpack_from(data, end + 3)
        at = end + 3 + 2 * places
        marks = b",".join(b"%d%s" % (p & 0x3FFF, (b"", b"C", b"B", b"A")[p >> 14]) for p in packed)
        shown.append(b"'" + word + b"'" + (b":" + marks if marks else b""))
    return b" ".join(shown)


SCALARS: dict[str, Convert] = {
    "bool": _boolean,
    "int2": _integer("!h"), "int4": _integer("!i"), "int8": _integer("!q"),
    "oid": _integer("!I"), "xid": _integer("!I"), "cid": _integer("!I"), "xid8": _integer("!Q"),
    "float4": _float("!f", 9), "float8": _float("!d", 17),
    "numeric": numeric, "money": _money,
    "text": text, "varchar": text, "bpchar": text, "name": text, "unknown": text, "citext": text, "char": _byte,
    "json": text, "jsonb": _jsonb, "xml": text,
    "bytea": lambda data: b"\\x" + data.hex().encode(),
    "uuid": lambda data: str(UUID(bytes=data)).encode(),
    "date": calendar.date, "time": calendar.time, "timetz": calendar.timetz, "interval": calendar.interval,
    "timestamp": calendar.timestamp, "timestamptz": calendar.timestamptz,
    "inet": _address, "cidr": _address, "macaddr": _hardware, "macaddr8": _hardware,
    "bit": _bits, "varbit": _bits, "pg_lsn": _lsn, "tsvector": _tsvector,
}  # fmt: skip
