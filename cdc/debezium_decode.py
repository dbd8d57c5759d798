"""Debezium's JSON to column values: whatever mode they were written in, the schema's name says which.

Source: Debezium PostgreSQL connector, "Data type mappings"; Kafka Connect's logical types.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from psycopg.postgres import types

from cdc.capture.types import load_json
from cdc.change import Column
from cdc.debezium_modes import ABSENT, STRINGS, UNAVAILABLE, Modes, Schema
from cdc.debezium_types import EPOCH, INFINITY, ISO_INFINITY, KEY, MODIFIER, SOURCE_TYPE, schema_of, type_name

_FROM_INFINITY = {number: text for text, number in INFINITY.items()}
_FROM_ISO_INFINITY = {iso.removesuffix("Z"): text for text, iso in ISO_INFINITY.items()}
_RAW_UNAVAILABLE = b64encode(UNAVAILABLE.encode()).decode()

_TYPE_OF_PLAIN = {
    "boolean": "bool", "int8": "int2", "int16": "int2", "int32": "int4", "int64": "int8",
    "float": "float4", "double": "float8", "string": "text", "bytes": "bytea",
}  # fmt: skip
# By the last part of the name: io.debezium.time.*, io.debezium.data.*, org.apache.kafka.connect.data.*
_TYPE_OF_NAME = {
    "ZonedTimestamp": "timestamptz", "ZonedTime": "timetz",
    "Date": "date", "IsoDate": "date",
    "Timestamp": "timestamp", "MicroTimestamp": "timestamp", "NanoTimestamp": "timestamp", "IsoTimestamp": "timestamp",
    "Time": "time", "MicroTime": "time", "NanoTime": "time", "IsoTime": "time",
    "MicroDuration": "interval", "NanoDuration": "interval", "Interval": "interval",
    "Bits": "bit", "Point": "point",
    "Uuid": "uuid", "Json": "jsonb", "VariableScaleDecimal": "numeric", "Decimal": "numeric",
}  # fmt: skip
# PostgreSQL's names as Debezium's column.propagate.source.type writes them, where they differ from pg_type's.
_ALIASES = {"smallserial": "int2", "serial": "int4", "bigserial": "int8"}


def column_of(schema: Schema) -> Column:
    """The column that a field's schema describes; text where it does not say."""
    parameters = schema.get("parameters") or {}
    if schema["type"] == "array":
        return Column(schema["field"], _array_oid(schema, parameters), int(parameters.get(MODIFIER, -1)))
    name = parameters.get(SOURCE_TYPE, "").lower()
    name = _ALIASES.get(name, name)
    if name.startswith("oid:"):
        oid = int(name[4:])
    else:
        label = (schema.get("name") or "").rpartition(".")[2]
        known = name if name and types.get(name) else _TYPE_OF_NAME.get(label) or _TYPE_OF_PLAIN.get(schema["type"])
        info = types.get(known or "text")
        oid = info.oid if info is not None else types["text"].oid
    return Column(schema["field"], oid, int(parameters.get(MODIFIER, -1)), parameters.get(KEY) == "true")


def _array_oid(schema: Schema, parameters: dict[str, str]) -> int:
    name = parameters.get(SOURCE_TYPE, "").lower().removeprefix("_")
    if not (info := types.get(name) if name else None):
        element = column_of({"field": "", **schema.get("items", {"type": "string"})})
        info = types.get(element.type_oid)
    return info.array_oid if info is not None else types["text"].array_oid


def decode(schema: Schema, value: Any) -> Any:
    """ABSENT for Debezium's placeholder."""
    if value is None:
        return None
    if is_unavailable(value):
        return ABSENT
    name, _ = type_name(column_of(schema).type_oid)
    return _decode(schema, name, value)


def decoder(column: Column, modes: Modes = STRINGS) -> Callable[[Any], Any] | None:
    """`decode` for one column's values without a schema, none of them null; None where they are JSON's own."""
    name, array = type_name(column.type_oid)
    if not array and name in ("bool", "int2", "int4", "int8", "oid"):
        return None
    if not array and name == "numeric" and modes.decimal == "string":
        return lambda value: ABSENT if value == UNAVAILABLE else Decimal(value)
    schema = schema_of(column, None, modes)
    if not array and schema["type"] == "string" and "name" not in schema:
        return lambda value: ABSENT if value == UNAVAILABLE else value

    def decode_it(value: Any) -> Any:
        return ABSENT if is_unavailable(value) else _decode(schema, name, value)

    return decode_it


def is_unavailable(value: Any) -> bool:
    if isinstance(value, str):
        return value in (UNAVAILABLE, _RAW_UNAVAILABLE)
    if isinstance(value, list):
        return len(value) == 1 and isinstance(value[0], str) and is_unavailable(value[0])
    return isinstance(value, dict) and value.get("value") == _RAW_UNAVAILABLE


def _decode(schema: Schema, name: str, value: Any) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [
            None if item is None else _decode(items if not isinstance(item, list) else schema, name, item)
            for item in value
        ]
    label = (schema.get("name") or "").rpartition(".")[2]
    if label == "ZonedTimestamp":
        return _zoned(value)
    if label == "Uuid":
        return UUID(value)
    if label == "Json":
        return load_json(value.encode())
    if label == "VariableScaleDecimal":
        return _decimal(b64decode(value["value"]), int(value["scale"]))
    if label == "Decimal":
        return _decimal(b64decode(value), int(schema["parameters"]["scale"]))
    if label in ("MicroDuration", "NanoDuration"):
        micros = value if label == "MicroDuration" else value // 1000
        return f"{micros} microseconds"
    if label == "Bits":
        bits = f"{int.from_bytes(b64decode(value), 'little'):b}"
        return bits if name == "varbit" else bits.zfill(int(schema["parameters"]["length"]))
    if label == "Point":
        return f"({value['x']},{value['y']})"
    if name in ("date", "timestamp", "time") and label:
        return _decode_time(name, label, value)
    if schema["type"] == "bytes":
        return b64decode(value)
    if name == "numeric":
        return Decimal(str(value))
    return float(value) if schema["type"] in ("float", "double") or name in ("float4", "float8") else value


def _decode_time(name: str, label: str, value: Any) -> date | time | datetime | str:
    """Numbers in the unit that the schema's name says, ISO text; what Python cannot hold stays text."""
    if isinstance(value, str):
        text = value.removesuffix("Z")
        return _FROM_ISO_INFINITY.get(text) or _iso(name, text)
    if name == "date":
        return EPOCH.date() + timedelta(days=value)
    factor = Fraction(1, 1000) if label.startswith("Nano") else 1 if label.startswith("Micro") else 1000
    micros = int(value * factor)
    if name == "timestamp" and micros in _FROM_INFINITY:
        return _FROM_INFINITY[micros]
    at = EPOCH + timedelta(microseconds=micros)
    return at.time() if name == "time" else at


def _iso(name: str, text: str) -> date | time | datetime | str:
    try:
        match name:
            case "date":
                return date.fromisoformat(text)
            case "timestamp":
                return datetime.fromisoformat(text)
            case _:
                return text if text.startswith("24") else time.fromisoformat(text)
    except ValueError:
        return text


def _zoned(value: str) -> datetime | str:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return value


def _decimal(raw: bytes, scale: int) -> Decimal:
    unscaled = int.from_bytes(raw, "big", signed=True)
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))
