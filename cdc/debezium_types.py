"""Column values in Debezium's JSON: each PostgreSQL type's schema, and values to and fro.

Source: Debezium PostgreSQL connector, "Data type mappings", its default modes (decimal `precise`, time `adaptive`).
The PostgreSQL type rides in `__debezium.source.column.type`, as with Debezium's column.propagate.source.type.
A value that Debezium's type cannot hold (NaN, year 10000) is sent as its text under a plain string schema.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec
from psycopg.postgres import types

from cdc.capture.types import load_json
from cdc.change import Column

Schema = dict[str, Any]

UNAVAILABLE = "__debezium_unavailable_value"
SOURCE_TYPE = "__debezium.source.column.type"
KEY = "banyan.key"
MODIFIER = "banyan.modifier"

ABSENT = object()
"""Stands for a column whose unchanged TOASTed value is not known."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  timestamp without time zone, counted as if it were UTC
_INFINITY = {"infinity": 9223372036825200000, "-infinity": -9223372036832400000}
_FROM_INFINITY = {number: text for text, number in _INFINITY.items()}
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
_TYPE_OF_PLAIN = {
    "boolean": "bool", "int8": "int2", "int16": "int2", "int32": "int4", "int64": "int8",
    "float": "float4", "double": "float8", "string": "text", "bytes": "bytea",
}  # fmt: skip
_NAMED = {
    "timestamptz": ("string", "io.debezium.time.ZonedTimestamp"),
    "uuid": ("string", "io.debezium.data.Uuid"),
    "json": ("string", "io.debezium.data.Json"),
    "jsonb": ("string", "io.debezium.data.Json"),
    "date": ("int32", "io.debezium.time.Date"),
    "bytea": ("bytes", None),
}
_TYPE_OF_NAME = {
    "io.debezium.time.ZonedTimestamp": "timestamptz",
    "io.debezium.time.Date": "date",
    "io.debezium.time.MicroTimestamp": "timestamp", "io.debezium.time.Timestamp": "timestamp",
    "io.debezium.time.MicroTime": "time", "io.debezium.time.Time": "time",
    "io.debezium.data.Uuid": "uuid", "io.debezium.data.Json": "jsonb",
    "io.debezium.data.VariableScaleDecimal": "numeric",
    "org.apache.kafka.connect.data.Decimal": "numeric",
}  # fmt: skip
_VARIABLE_DECIMAL: Schema = {
    "type": "struct",
    "name": "io.debezium.data.VariableScaleDecimal",
    "fields": [
        {"type": "int32", "optional": False, "field": "scale"},
        {"type": "bytes", "optional": False, "field": "value"},
    ],
}


def type_name(oid: int) -> tuple[str, bool]:
    """PostgreSQL's name of the (element) type, and whether it is an array of it; `oid:n` for a type we do not know."""
    info = types.get(oid)
    return (info.name, info.array_oid == oid and oid != 0) if info is not None else (f"oid:{oid}", False)


def schema_of(column: Column, value: Any) -> Schema:
    """The field's schema for this value: the column's, or a plain string where that cannot hold the value."""
    name, array = type_name(column.type_oid)
    schema: Schema = {"type": "array", "items": _schema(name, -1)} if array else _schema(name, column.modifier)
    if not array and _is_misfit(name, value):
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


def column_of(schema: Schema) -> Column:
    parameters = schema.get("parameters") or {}
    name = parameters.get(SOURCE_TYPE, "").lower()
    if name.startswith("oid:"):
        oid = int(name[4:])
    elif name.startswith("_"):
        oid = types[name[1:]].array_oid
    else:
        known = name or _TYPE_OF_NAME.get(schema.get("name") or "") or _TYPE_OF_PLAIN.get(schema["type"], "text")
        info = types.get(known)
        oid = info.oid if info is not None else types["text"].oid
    return Column(schema["field"], oid, int(parameters.get(MODIFIER, -1)), parameters.get(KEY) == "true")


def encode(column: Column, value: Any) -> Any:
    name, array = type_name(column.type_oid)
    if value is ABSENT:
        return _unavailable(_schema(name, column.modifier), array)
    if array:
        return _encode_array(name, value)
    return _encode(name, column.modifier, value)


def decode(schema: Schema, value: Any) -> Any:
    """ABSENT for Debezium's placeholder."""
    if value is None:
        return None
    if _is_unavailable(schema, value):
        return ABSENT
    name, _ = type_name(column_of(schema).type_oid)
    return _decode(schema, name, value)


def _schema(name: str, modifier: int) -> Schema:
    if name in _PLAIN:
        return {"type": _PLAIN[name]}
    if name in _NAMED:
        kind, label = _NAMED[name]
        return {"type": kind, "name": label} if label else {"type": kind}
    if name == "numeric":
        if modifier < 0:
            return _VARIABLE_DECIMAL
        precision, scale = ((modifier - 4) >> 16) & 0xFFFF, _scale(modifier)
        parameters = {"scale": str(scale), "connect.decimal.precision": str(precision)}
        return {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": parameters}
    if name == "timestamp":
        kind = "Timestamp" if 0 <= modifier <= 3 else "MicroTimestamp"
        return {"type": "int64", "name": f"io.debezium.time.{kind}"}
    if name == "time":
        return (
            {"type": "int32", "name": "io.debezium.time.Time"}
            if 0 <= modifier <= 3
            else {"type": "int64", "name": "io.debezium.time.MicroTime"}
        )
    return {"type": "string"}


def _is_misfit(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in ("date", "time") or (name == "timestamp" and value not in _INFINITY)
    return isinstance(value, (Decimal, float)) and not isfinite(value)


def _encode(name: str, modifier: int, value: Any) -> Any:
    match value:
        case None | bool() | int():
            return _encode_json(value).decode() if name in ("json", "jsonb") and value is not None else value
        case _ if name in ("json", "jsonb"):
            return _encode_json(value).decode()
        case str():
            return _INFINITY.get(value, value) if name == "timestamp" else value
        case float():
            return value if isfinite(value) else str(value)
        case Decimal():
            return _encode_decimal(modifier, value)
        case datetime():
            if value.tzinfo is not None:
                return _zoned(value)
            micros = (value - _EPOCH) // timedelta(microseconds=1)
            return micros // 1000 if 0 <= modifier <= 3 else micros
        case date():
            return (value - _EPOCH.date()).days
        case time():
            micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
            return micros // 1000 if 0 <= modifier <= 3 else micros
        case bytes():
            return b64encode(value).decode()
        case _:
            return str(value)


def _encode_array(name: str, value: Any) -> Any:
    return [_encode_array(name, item) for item in value] if isinstance(value, list) else _encode(name, -1, value)


def _encode_decimal(modifier: int, value: Decimal) -> Any:
    if not value.is_finite():
        return str(value)
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
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def _decode(schema: Schema, name: str, value: Any) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [
            None if item is None else _decode(items if not isinstance(item, list) else schema, name, item)
            for item in value
        ]
    label = schema.get("name") or ""
    match label.rpartition(".")[2]:
        case "ZonedTimestamp":
            try:
                return datetime.fromisoformat(value).astimezone(UTC)
            except ValueError:
                return value
        case "Uuid":
            return UUID(value)
        case "Json":
            return load_json(value.encode())
        case "Date":
            return _EPOCH.date() + timedelta(days=value)
        case "MicroTimestamp" | "Timestamp":
            if value in _FROM_INFINITY:
                return _FROM_INFINITY[value]
            return _EPOCH + timedelta(microseconds=value * (1000 if label.endswith(".Timestamp") else 1))
        case "MicroTime" | "Time":
            return (_EPOCH + timedelta(microseconds=value * (1000 if label.endswith(".Time") else 1))).time()
        case "Decimal":
            return _decimal(b64decode(value), int(schema["parameters"]["scale"]))
        case "VariableScaleDecimal":
            return _decimal(b64decode(value["value"]), int(value["scale"]))
    if schema["type"] == "bytes":
        return b64decode(value)
    if name == "numeric":
        return Decimal(str(value))
    return float(value) if schema["type"] in ("float", "double") or name in ("float4", "float8") else value


def _decimal(raw: bytes, scale: int) -> Decimal:
    unscaled = int.from_bytes(raw, "big", signed=True)
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def _unavailable(schema: Schema, array: bool) -> Any:
    raw = b64encode(UNAVAILABLE.encode()).decode()
    if array:
        return [raw if schema["type"] == "bytes" else UNAVAILABLE]
    if schema["type"] == "struct":
        return {"scale": 0, "value": raw}
    return raw if schema["type"] == "bytes" else UNAVAILABLE


def _is_unavailable(schema: Schema, value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 1 and isinstance(value[0], str) and _placeholder(value[0])
    if isinstance(value, dict):
        return _placeholder(value.get("value", ""))
    return isinstance(value, str) and _placeholder(value)


def _placeholder(text: str) -> bool:
    return text == UNAVAILABLE or text == b64encode(UNAVAILABLE.encode()).decode()
