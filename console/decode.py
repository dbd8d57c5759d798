"""Turns the answers of other components into readings; fields that an answer lacks become None or 0, never an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from console.readings import SIDES, Domain, Figures, Gateway, Ledger, LedgerRow, Reading, Stream, Verification, Wave
from gateway.control.table import Domain as TableDomain
from gateway.control.table import RouteTable
from migration_plan.ledger import Row


def gateway(table: RouteTable, status: Mapping[str, Any]) -> Gateway:
    """From `GET /v1/table` (where waves stand) and `GET /v1/status` (live figures)."""
    live = _mapping(status.get("domains"))
    domains = {name: _domain(domain, _mapping(live.get(name))) for name, domain in table.domains.items()}
    return Gateway(table.version, _count(status.get("workers")), domains)


def _domain(table: TableDomain, live: Mapping[str, Any]) -> Domain:
    waves = tuple(
        Wave(w.wave, w.bucket_from, w.bucket_to, w.phase, w.canary_percent, w.owner, w.epoch, w.hold)
        for w in table.waves
    )
    requests, shadow = _mapping(live.get("requests")), _mapping(live.get("shadow"))
    return Domain(
        waves=waves,
        shadow_percent=table.shadow_percent,
        figures={side: _figures(_mapping(requests.get(side))) for side in SIDES},
        breakers={str(side): str(state) for side, state in _mapping(live.get("breakers")).items()},
        health={str(side): bool(well) for side, well in _mapping(live.get("health")).items()},
        fallbacks=_count(live.get("fallbacks")),
        held=_count(live.get("held")),
        rerouted=_count(live.get("rerouted")),
        compared=_count(shadow.get("compared")),
        mismatched=_count(shadow.get("mismatched")),
        regressions=_regressions(shadow.get("regressions")),
    )


def _regressions(fields: Any) -> tuple[str, ...]:
    """As `prices.list $.price`; what the gateway does not say is nothing."""
    found = [_mapping(field) for field in fields] if isinstance(fields, list) else []
    return tuple(f"{field.get('operation')} {field.get('field')}" for field in found)


def _figures(values: Mapping[str, Any]) -> Figures:
    return Figures(
        per_s=_number(values.get("per_s")) or 0.0,
        p50_ms=_number(values.get("p50_ms")),
        p99_ms=_number(values.get("p99_ms")),
        errors_per_s=_number(values.get("errors_per_s")) or 0.0,
    )


def stream(body: Any) -> Stream:
    """From a stream's `GET /status`."""
    values = _mapping(body)
    state = values.get("state") or values.get("phase") or ""
    alarms = values.get("alarms")
    found = [_mapping(alarm) for alarm in alarms] if isinstance(alarms, list) else []
    return Stream(
        True,
        str(state),
        _number(values.get("lag_ms")),
        _count(values.get("parked")),
        _count(values.get("lag_bytes")),
        _count(values.get("retained_bytes")),
        tuple(str(alarm.get("words", "")) for alarm in found),
        _reading(values.get("snapshot")),
    )


def _reading(value: Any) -> Reading | None:
    values = _mapping(value)
    if not values:
        return None
    return Reading(
        str(values.get("table") or ""),
        _count(values.get("rows")),
        _count(values.get("expected")),
        _number(values.get("rate")) or 0.0,
        _number(values.get("eta_s")),
        str(values.get("waits") or ""),
    )


def ledger(rows: Iterable[Row], verified: Iterable[Row], frozen: Mapping[str, Row] | None = None) -> Ledger:
    """Both oldest first."""
    verifications = {row.entry.domain: _verification(row) for row in verified}
    freezes = {name: _ledger_row(row) for name, row in (frozen or {}).items()}
    return Ledger(tuple(_ledger_row(row) for row in rows), verifications, freezes)


def _ledger_row(row: Row) -> LedgerRow:
    entry = row.entry
    return LedgerRow(
        row.id, entry.run_id, row.at, entry.actor, entry.domain, entry.verb, entry.step, entry.before, entry.after,
        entry.measured, entry.reason,
    )  # fmt: skip


def _verification(row: Row) -> Verification:
    measured = row.entry.measured
    clean = measured.get("clean")
    rows, drift = measured.get("rows"), measured.get("drift")
    return Verification(
        row.at,
        clean if isinstance(clean, bool) else None,
        rows if isinstance(rows, int) else None,
        drift if isinstance(drift, int) else None,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: Any) -> int:
    return int(_number(value) or 0)
