"""Column values into Debezium's JSON: each PostgreSQL type's schema, and its values. Reading is debezium_decode's.

Source: Debezium PostgreSQL connector, "Data type mappings", in the modes of debezium_modes.
The PostgreSQL type rides in `__debezium.source.column.type`, as with Debezium's column.propagate.source.type.
A value that Debezium's type cannot hold (NaN, year 10000) is sent as its text under a plain string schema.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any

import msgspec
from psycopg.postgres import types

from cdc.change import Column
from cdc.debezium_modes import (
    ABSENT,
    DEFAULT,
    UNAVAILABLE,
    Modes,
    Schema,
    date_schema,
    time_schema,
    timestamp_schema,
)

SOURCE_TYPE = "__debezium.source.column.type"
KEY = "banyan.key"
MODIFIER = "banyan.modifier"

# Debezium's numbers for a timestamp without end, in microseconds (its JDBC driver's milliseconds), and their ISO text.
# Nanoseconds cannot hold them.
INFINITY = {"infinity": 9223372036825200000, "-infinity": -9223372036832400000}
ISO_INFINITY = {"infinity": "+294247-01-10T04:00:25.2Z", "-infinity": "-290308-12-21T19:59:27.6Z"}

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  timestamp without time zone, counted as if it were UTC
_MICRO = timedelta(microseconds=1)
_encode_json = msgspec.json.Encoder(decimal_format="number").encode

_PLAIN = {
    "bool": "boolean",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "oid": "int64",
    "float4": "float",
    "float8": "double",
}
_NAMED = {
    "timestamptz": ("string", "io.debezium.time.ZonedTimestamp"),
    "uuid": ("string", "io.debezium.data.Uuid"),
    "json": ("string", "io.debezium.data.Json"),
    "jsonb": ("string", "io.debezium.data.Json"),
    "bytea": ("bytes", None),
}
_VARIABLE_DECIMAL: Schema = {
    "type": "struct",
    "name": "io.debezium.data.VariableScaleDecimal",
    "fields": [
        {"type": "int32", "optional": False, "field": "scale"},
        {"type": "bytes", "optional": False, "field": "value"},
    ],
}
# The values of these are JSON's own.
_AS_THEY_ARE = {"bool", "int2", "int4", "int8", "oid", "text", "varchar", "bpchar", "name"}


def type_name(oid: int) -> tuple[str, bool]:
    """PostgreSQL's name of the (element) type, and whether it is an array of it; `oid:n` for a type we do not know."""
    info = types.get(oid)
    return (info.name, info.array_oid == oid and oid != 0) if info is not None else (f"oid:{oid}", False)


def schema_of(column: Column, value: Any, modes: Modes = DEFAULT) -> Schema:
    """The field's schema for this value: the column's, or a plain string where that cannot hold the value."""
    name, array = type_name(column.type_oid)
    modes = _fitting(value, modes)
    schema: Schema = (
        {"type": "array", "items": _schema(name, -1, modes)} if array else _schema(name, column.modifier, modes)
    )
    if not array and _is_misfit(name, value, modes):
        schema = {"type": "string"}
    parameters = {SOURCE_TYPE: ("_" if array else "") + name.upper(), MODIFIER: str(column.modifier)}
    if column.key:
        parameters[KEY] = "true"
    return {
        **schema,
        "parameters": {**schema.get("parameters", {}), **parameters},
        "optional": True,
        "field": column.name,
    }


def encode(column: Column, value: Any, modes: Modes = DEFAULT) -> Any:
    if value is ABSENT:
        return unavailable(column, modes)
    modes = _fitting(value, modes)
    name, array = type_name(column.type_oid)
    if array:
        return _encode_array(name, value, modes)
    return _encode(name, column.modifier, value, modes)


def encoder(column: Column, modes: Modes) -> Callable[[Any], Any] | None:
    """`encode` for one column's values, none of them null or absent; None where they are JSON's own."""
    name, array = type_name(column.type_oid)
    if not array and (name in _AS_THEY_ARE or name.startswith("oid:")):
        return None
    if not array and name == "numeric" and modes.decimal == "string":
        return str
    modifier = column.modifier
    if array:
        return lambda value: _encode_array(name, value, modes)
    return lambda value: _encode(name, modifier, value, modes)


def unavailable(column: Column, modes: Modes = DEFAULT) -> Any:
    """What stands for an unknown value of the column."""
    name, array = type_name(column.type_oid)
    schema = _schema(name, -1 if array else column.modifier, modes)
    raw = b64encode(UNAVAILABLE.encode()).decode()
    if array:
        return [raw if schema["type"] == "bytes" else UNAVAILABLE]
    if schema["type"] == "struct":
        return {"scale": 0, "value": raw}
    return raw if schema["type"] == "bytes" else UNAVAILABLE


def _schema(name: str, modifier: int, modes: Modes) -> Schema:
    if name in _PLAIN:
        return {"type": _PLAIN[name]}
    if name in _NAMED:
        kind, label = _NAMED[name]
        return {"type": kind, "name": label} if label else {"type": kind}
    match name:
        case "numeric":
            return _numeric_schema(modifier, modes)
        case "date":
            return date_schema(modes.time)
        case "timestamp":
            return timestamp_schema(modes.time, modifier)
        case "time":
            return time_schema(modes.time, modifier)
        case _:
            return {"type": "string"}


def _numeric_schema(modifier: int, modes: Modes) -> Schema:
    if modes.decimal != "precise":
        return {"type": modes.decimal}
    if modifier < 0:
        return _VARIABLE_DECIMAL
    precision = ((modifier - 4) >> 16) & 0xFFFF
    parameters = {"scale": str(_scale(modifier)), "connect.decimal.precision": str(precision)}
    return {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": parameters}


def _fitting(value: Any, modes: Modes) -> Modes:
    """64 bits of nanoseconds end in 1677 and 2262; beyond, a timestamp goes in microseconds."""
    if modes.time == "nanoseconds" and type(value) is datetime and not 1678 <= value.year <= 2261:
        return Modes(modes.decimal, "microseconds")
    return modes


def _is_misfit(name: str, value: Any, modes: Modes) -> bool:
    if isinstance(value, str):
        held = name == "timestamp" and value in INFINITY and modes.time != "nanoseconds"
        return name in ("date", "time", "timestamp") and not held
    return isinstance(value, (Decimal, float)) and not isfinite(value)


def _encode(name: str, modifier: int, value: Any, modes: Modes) -> Any:
    match value:
        case None | bool() | int():
            return _encode_json(value).decode() if name in ("json", "jsonb") and value is not None else value
        case _ if name in ("json", "jsonb"):
            return _encode_json(value).decode()
        case str():
            return _encode_infinity(value, modifier, modes) if name == "timestamp" and value in INFINITY else value
        case float():
            return value if isfinite(value) else "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case Decimal():
            return _encode_decimal(modifier, value, modes)
        case datetime():
            return _zoned(value) if value.tzinfo is not None else _encode_timestamp(value, modifier, modes)
        case date():
            return value.isoformat() + "Z" if modes.time == "isostring" else (value - EPOCH.date()).days
        case time():
            return _encode_time(value, modifier, modes)
        case bytes():
            return b64encode(value).decode()
        case _:
            return str(value)


def _encode_array(name: str, value: Any, modes: Modes) -> Any:
    if isinstance(value, list):
        return [_encode_array(name, item, modes) for item in value]
    return _encode(name, -1, value, modes)


def _encode_timestamp(value: datetime, precision: int, modes: Modes) -> Any:
    if modes.time == "isostring":
        return _trimmed(value.isoformat()) + "Z"
    return _in_unit((value - EPOCH) // _MICRO, timestamp_schema(modes.time, precision)["name"])


def _encode_time(value: time, precision: int, modes: Modes) -> Any:
    if modes.time == "isostring":
        return _trimmed(value.isoformat()) + "Z"
    micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return _in_unit(micros, time_schema(modes.time, precision)["name"])


def _encode_infinity(value: str, precision: int, modes: Modes) -> Any:
    match modes.time:
        case "isostring":
            return ISO_INFINITY[value]
        case "nanoseconds":
            return value
        case mode:
            return _in_unit(INFINITY[value], timestamp_schema(mode, precision)["name"])


def _trimmed(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def _in_unit(micros: int, name: str) -> int:
    label = name.rpartition(".")[2]
    if label.startswith("Micro"):
        return micros
    return micros * 1000 if label.startswith("Nano") else micros // 1000


def _encode_decimal(modifier: int, value: Decimal, modes: Modes) -> Any:
    if modes.decimal == "string" or not value.is_finite():
        return str(value)
    if modes.decimal == "double":
        return float(value)
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale = _scale(modifier) if modifier >= 0 else -exponent
    unscaled = int("".join(map(str, digits))) * 10 ** (scale + exponent) * (-1 if sign else 1)
    raw = b64encode(unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)).decode()
    return raw if modifier >= 0 else {"scale": scale, "value": raw}


def _scale(modifier: int) -> int:
    """Of numeric(p,s): eleven bits, signed since PostgreSQL 15."""
    scale = (modifier - 4) & 0x7FF
    return scale - 0x800 if scale > 0x3FF else scale


def _zoned(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
