"""The modes in which Debezium writes decimals and times, and the names of its types.

Source: Debezium PostgreSQL connector, "Data type mappings", `decimal.handling.mode` and `time.precision.mode`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Schema = dict[str, Any]

UNAVAILABLE = "__debezium_unavailable_value"

ABSENT = object()
"""Stands for a column whose unchanged TOASTed value is not known."""

DecimalMode = Literal["precise", "string", "double"]
TimeMode = Literal["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"]


class Modes(msgspec.Struct, frozen=True):
    """The defaults are Debezium's. `double` and `connect` lose digits: to be read, not to feed an applier with."""

    decimal: DecimalMode = "precise"
    time: TimeMode = "adaptive"


DEFAULT = Modes()
STRINGS = Modes(decimal="string")
"""What our own records use: exact, and the quickest to write and read."""

# Schemas of a date, a time and a timestamp, each (kind, name); adaptive ones depend on the column's precision.
_DATE: Schema = {"type": "int32", "name": "io.debezium.time.Date"}
_MILLIS_TIME: Schema = {"type": "int32", "name": "io.debezium.time.Time"}
_MICRO_TIME: Schema = {"type": "int64", "name": "io.debezium.time.MicroTime"}
_MILLIS: Schema = {"type": "int64", "name": "io.debezium.time.Timestamp"}
_MICROS: Schema = {"type": "int64", "name": "io.debezium.time.MicroTimestamp"}
_CONNECT = "org.apache.kafka.connect.data"


def date_schema(mode: TimeMode) -> Schema:
    match mode:
        case "connect":
            return {"type": "int32", "name": f"{_CONNECT}.Date"}
        case "isostring":
            return {"type": "string", "name": "io.debezium.time.IsoDate"}
        case _:
            return _DATE


def time_schema(mode: TimeMode, precision: int) -> Schema:
    """`precision` is -1 where the column has none: six digits."""
    match mode:
        case "connect":
            return {"type": "int32", "name": f"{_CONNECT}.Time"}
        case "isostring":
            return {"type": "string", "name": "io.debezium.time.IsoTime"}
        case "nanoseconds":
            return {"type": "int64", "name": "io.debezium.time.NanoTime"}
        case "adaptive" if 0 <= precision <= 3:
            return _MILLIS_TIME
        case _:
            return _MICRO_TIME


def timestamp_schema(mode: TimeMode, precision: int) -> Schema:
    match mode:
        case "connect":
            return {"type": "int64", "name": f"{_CONNECT}.Timestamp"}
        case "isostring":
            return {"type": "string", "name": "io.debezium.time.IsoTimestamp"}
        case "nanoseconds":
            return {"type": "int64", "name": "io.debezium.time.NanoTimestamp"}
        case "adaptive" | "adaptive_time_microseconds" if 0 <= precision <= 3:
            return _MILLIS
        case _:
            return _MICROS
