"""PostgreSQL's text output to Python values, by type OID; the same Python types that psycopg loads.

What Python cannot hold (infinity, BC, year 10000, 24:00:00) stays the text that PostgreSQL printed, which it also
reads back. Expects the session settings of SESSION_OPTIONS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec
import structlog
from psycopg.postgres import types

Loader = Callable[[bytes], Any]

SESSION_OPTIONS = (
    "-c client_encoding=UTF8 -c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC"
    " -c extra_float_digits=1 -c bytea_output=hex"
)

# A double keeps 15 significant decimal digits through text and back.
EXACT_DIGITS = 15

log = structlog.get_logger("cdc.capture")


def load_text(data: bytes) -> str:
    return data.decode()


def load_bool(data: bytes) -> bool:
    return data == b"t"


def load_numeric(data: bytes) -> Decimal:
    return Decimal(data.decode())


def load_bytea(data: bytes) -> bytes:
    return bytes.fromhex(data[2:].decode())


def load_date(data: bytes) -> date | str:
    text = data.decode()
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def load_timestamp(data: bytes) -> datetime | str:
    text = data.decode()
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def load_timestamptz(data: bytes) -> datetime | str:
    text = data.decode()
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text


def load_time(data: bytes) -> time | str:
    text = data.decode()
    if text.startswith("24"):
        return text
    return time.fromisoformat(text)


def load_uuid(data: bytes) -> UUID:
    return UUID(data.decode())


def _json_number(text: str) -> float | Decimal:
    """jsonb numbers are exact: one that a double would change stays a Decimal."""
    digits = text.lower().split("e")[0].lstrip("-0.").replace(".", "")
    value = float(text)
    return value if len(digits) <= EXACT_DIGITS and isfinite(value) else Decimal(text)


_json = msgspec.json.Decoder(float_hook=_json_number)


def load_json(data: bytes) -> Any:
    try:
        return _json.decode(data)
    except msgspec.DecodeError:  # an integer beyond 64 bits, a lone surrogate
        return json.loads(data, parse_float=_json_number)


def array_loader(element: Loader) -> Loader:
    """Reads `{1,NULL,"a b",{…}}`, also with explicit bounds (`[0:1]={…}`)."""

    def load(data: bytes) -> list[Any]:
        text = data.decode()
        value, _ = _array(text, text.index("{"), element)
        return value

    return load


def _array(text: str, at: int, element: Loader) -> tuple[list[Any], int]:
    items: list[Any] = []
    at += 1
    while text[at] != "}":
        if text[at] == ",":
            at += 1
        elif text[at] == "{":
            value, at = _array(text, at, element)
            items.append(value)
        elif text[at] == '"':
            raw, at = _quoted(text, at + 1)
            items.append(element(raw.encode()))
        else:
            end = at
            while text[end] not in ",}":
                end += 1
            raw, at = text[at:end], end
            items.append(None if raw == "NULL" else element(raw.encode()))
    return items, at + 1


def _quoted(text: str, at: int) -> tuple[str, int]:
    letters: list[str] = []
    while text[at] != '"':
        if text[at] == "\\":
            at += 1
        letters.append(text[at])
        at += 1
    return "".join(letters), at + 1


_BY_NAME: dict[str, Loader] = {
    "bool": load_bool,
    "int2": int, "int4": int, "int8": int, "oid": int,
    "float4": float, "float8": float,
    "numeric": load_numeric,
    "text": load_text, "varchar": load_text, "bpchar": load_text, "name": load_text,
    "bytea": load_bytea,
    "date": load_date, "time": load_time, "timestamp": load_timestamp, "timestamptz": load_timestamptz,
    "timetz": load_text, "interval": load_text,
    "uuid": load_uuid,
    "json": load_json, "jsonb": load_json,
}  # fmt: skip

LOADERS: dict[int, Loader] = {}
for _name, _loader in _BY_NAME.items():
    LOADERS[types[_name].oid] = _loader
    LOADERS[types[_name].array_oid] = array_loader(_loader)

# Types of PostgreSQL's own whose text is all that anybody needs of them; so are their arrays.
_AS_TEXT = (
    '"char"', "inet", "cidr", "macaddr", "macaddr8", "bit", "varbit", "money", "xml", "tsvector", "pg_lsn",
    "int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange",
    "int4multirange", "int8multirange", "nummultirange", "datemultirange", "tsmultirange", "tstzmultirange",
)  # fmt: skip
for _name in _AS_TEXT:
    if (_found := types.get(_name)) is not None:
        LOADERS[_found.oid] = LOADERS[_found.array_oid] = load_text

_NAMES = {info.oid: info.name for info in types} | {info.array_oid: f"_{info.name}" for info in types if info.array_oid}

_warned: set[int] = set()


def type_name(type_oid: int) -> str | None:
    """The internal name of a built-in type (`int8`, `_text` for an array); None for those that a database adds."""
    return _NAMES.get(type_oid)


def loader(type_oid: int) -> Loader:
    """The loader of a type; an unknown type stays text, and is told once."""
    if (found := LOADERS.get(type_oid)) is not None:
        return found
    if type_oid not in _warned:
        _warned.add(type_oid)
        log.warning("unknown type is carried as text", type_oid=type_oid)
    return load_text
