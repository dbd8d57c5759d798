"""Changes in the envelope of Debezium's PostgreSQL connector, as JSON with schemas (schemas.enable=true) or without.

Source: Debezium 3.x, "PostgreSQL connector events". Differences: `sequence` starts with this transaction's commit
position (Debezium: the last one's), and schemas carry `banyan.*` parameters, which consumers ignore. What else may
differ is listed, and held against the real engine, in tests/integration/cdc_kafka/test_debezium.py.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from cdc.change import Boundary, Change, Column, Message, Operation, Relation, Row, Transaction
from cdc.debezium_decode import column_of, decode
from cdc.debezium_modes import ABSENT, DEFAULT, Modes, Schema
from cdc.debezium_types import encode, schema_of
from cdc.errors import EnvelopeError

VERSION = "banyan-1"
MAX_INT64 = 2**63 - 1
IDENTITY = "banyan.identity"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


def to_debezium_json(
    change: Change,
    name: str = "banyan",
    db: str = "",
    at: datetime | None = None,
    *,
    schemas: bool = True,
    modes: Modes = DEFAULT,
) -> bytes:
    """`name` is the topic prefix; `at` is when the change was processed (default: now)."""
    relation = change.relation
    full = f"{name}.{relation.name}" if relation is not None else name
    micros = _micros(at or datetime.now(UTC))
    payload: dict[str, Any] = {
        "before": None,
        "after": None,
        "source": source_of(change, name, db),
        "transaction": None,
        "op": change.op,
        "ts_ms": micros // 1000,
        "ts_us": micros,
        "ts_ns": micros * 1000,
    }
    fields: list[Schema] = []
    if relation is not None:
        for side, row in (("before", change.before), ("after", change.after)):
            fill = None if side == "before" else ABSENT
            values = {c.name: (row or {}).get(c.name, fill if row is not None else None) for c in relation.columns}
            if row is not None:
                payload[side] = {c.name: encode(c, values[c.name], modes) for c in relation.columns}
            if schemas:
                fields.append(_row_schema(relation, side, full, values, modes))
    if change.message is not None:
        payload["message"] = {"prefix": change.message.prefix, "content": b64encode(change.message.content).decode()}
    if not schemas:
        return _encode(payload)
    schema = {"type": "struct", "fields": fields, "optional": False, "name": f"{full}.Envelope", "version": 2}
    return _encode({"schema": schema, "payload": payload})


def from_debezium_json(data: bytes | str) -> Change:
    """Reads what Debezium or `to_debezium_json` wrote; without schemas strings stay strings. Raises: EnvelopeError."""
    try:
        event = orjson.loads(data)
        bare = "payload" not in event
        return _change(event if bare else event["payload"], {} if bare else event.get("schema") or {})
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, ArithmeticError) as e:
        raise EnvelopeError(f"not a change event in Debezium's envelope: {type(e).__name__}: {e}") from e


def other_event(data: bytes | str | None) -> Boundary | str | None:
    """What comes beside changes: a heartbeat (its time; Debezium's carry no position), the end or beginning of a
    transaction (`provide.transaction.metadata`) as its status, None for a tombstone. Raises: EnvelopeError.
    """
    if data is None:
        return None
    try:
        event = orjson.loads(data)
        event = event.get("payload", event)
        if "status" in event:
            return str(event["status"])
        return Boundary(0, _EPOCH + timedelta(milliseconds=event["ts_ms"]), commit=False)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
        raise EnvelopeError(f"neither a heartbeat nor a transaction's mark: {type(e).__name__}: {e}") from e


def _change(payload: dict[str, Any], schema: Schema) -> Change:
    source = payload["source"]
    fields = {field["field"]: field for field in schema.get("fields", [])}
    row_schema = fields.get("after") or fields.get("before")
    sequence = orjson.loads(source["sequence"]) if source.get("sequence") else [None, None]
    tx = Transaction(
        xid=source.get("txId") or 0,
        commit_lsn=int(sequence[0] or 0),
        commit_at=_EPOCH + timedelta(microseconds=source.get("ts_us") or source["ts_ms"] * 1000),
        origin=source.get("origin"),
        origin_lsn=source.get("origin_lsn"),
    )
    op: Operation = payload["op"]
    if op not in ("c", "u", "d", "r", "t", "m"):
        raise ValueError(f"unknown op {op!r}")
    message = None
    if op == "m":
        message = Message(payload["message"]["prefix"], b64decode(payload["message"]["content"]))
    relation = None
    if source.get("table"):
        columns = _columns(row_schema, payload)
        identity = ((row_schema or {}).get("parameters") or {}).get(IDENTITY, "f")
        relation = Relation(0, source["schema"], source["table"], columns, identity)
    before, after = _row(payload.get("before"), fields.get("before")), _row(payload.get("after"), fields.get("after"))
    if before is not None and relation is not None and relation.identity != "f":
        before = {c.name: before[c.name] for c in relation.columns if c.key and c.name in before}
    snapshot = str(source.get("snapshot", "false")).lower() not in ("false", "none")
    return Change(op, tx, source.get("lsn") or 0, relation, before, after, message, snapshot)


def _columns(schema: Schema | None, payload: dict[str, Any]) -> tuple[Column, ...]:
    if schema is not None:
        return tuple(column_of(field) for field in schema["fields"])
    row = payload.get("after") or payload.get("before") or {}
    return tuple(column_of({"field": name, "type": "string"}) for name in row)


def _row(row: dict[str, Any] | None, schema: Schema | None) -> Row | None:
    if row is None:
        return None
    fields = {f["field"]: f for f in schema["fields"]} if schema is not None else {}
    plain: Schema = {"type": "string", "field": ""}
    values = {name: decode(fields.get(name, plain), value) for name, value in row.items()}
    return {name: value for name, value in values.items() if value is not ABSENT}


def _row_schema(relation: Relation, side: str, full: str, values: Row, modes: Modes) -> Schema:
    columns = [schema_of(column, values[column.name], modes) for column in relation.columns]
    parameters = {IDENTITY: relation.identity}
    return {
        "type": "struct",
        "fields": columns,
        "optional": True,
        "name": f"{full}.Value",
        "parameters": parameters,
        "field": side,
    }


def source_of(change: Change, name: str, db: str) -> dict[str, Any]:
    """Debezium's `source`, its fields in its order."""
    micros = _micros(change.tx.commit_at)
    sequence = [str(change.tx.commit_lsn) if change.tx.commit_lsn else None, str(change.lsn) if change.lsn else None]
    return {
        "version": VERSION,
        "connector": "postgresql",
        "name": name,
        "ts_ms": micros // 1000,
        "snapshot": "true" if change.snapshot else "false",
        "db": db,
        "sequence": orjson.dumps(sequence).decode(),
        "ts_us": micros,
        "ts_ns": min(micros * 1000, MAX_INT64),  # that is, until 2262
        "schema": change.relation.schema if change.relation else "",
        "table": change.relation.table if change.relation else "",
        "txId": change.tx.xid or None,
        "lsn": change.lsn or None,
        "xmin": None,
        "origin": change.tx.origin,
        "origin_lsn": change.tx.origin_lsn,
    }


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
