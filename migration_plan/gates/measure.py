"""Looks: streams, gateway, transactions, sequences, the last verification. Read-only; what cannot be had is None."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

import cdc.errors
from cdc.config import Stream
from cdc.mapping import MappingError
from cdc.rehearsal import rehearse
from cdc.snapshot import standing
from cdc.snapshot.standing import Standing
from cdc.streams import lag_ms
from cdc.verify.state import Kept
from cdc.verify.state import read as read_kept
from gateway.errors import AdminError
from migration_plan.compile import DIRECTIONS, compile_stream
from migration_plan.context import SIDES, Connection, Context, figures
from migration_plan.environment import need_dsn
from migration_plan.errors import NotConfigured, NotPrepared, Unreachable
from migration_plan.gates.measured import GatewayFigures, Measured, RoundTrip, StreamFigures, Verified, WayBack
from migration_plan.gates.predict import Past, predict
from migration_plan.plan import Side
from migration_plan.switch.ports import other

# Of the newest switches that tell how long one takes: enough to know their spread, few enough to be of now.
PAST = 12
# A row that is tried may be a client's at this moment.
WAY_BACK_TRIES = 3

OPEN_TRANSACTIONS = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)) * 1000, 0)::float8,
       coalesce(bool_or(a.backend_type IS NULL), false)
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'relation' AND l.granted AND a.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT to_regclass(t)::oid FROM unnest(%s::text[]) t)
   AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                  'AccessExclusiveLock')
   AND (a.backend_type IS NULL OR a.backend_type = 'client backend')
"""
SEQUENCES = """
SELECT c.relname, s.seqstart, CASE WHEN has_sequence_privilege(c.oid, 'SELECT') THEN pg_sequence_last_value(c.oid) END
  FROM unnest(%s::text[]) t
  JOIN pg_depend d ON d.refobjid = to_regclass(t) AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass
  JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
  JOIN pg_sequence s ON s.seqrelid = c.oid
"""
STREAM = """
SELECT s.state, s.source_lsn::text, s.source_commit_at, s.applied_at, clock_timestamp(),
       (SELECT count(DISTINCT (p."table", p.key)) FROM banyan.parked p WHERE p.stream = s.stream),
       CASE WHEN s.state = 'snapshot' THEN 'at work' ELSE s.filled_lsn::text END,
       (SELECT h.what FROM banyan.halt h WHERE h.stream = s.stream AND h.resumed_at IS NULL ORDER BY h.id LIMIT 1)
  FROM banyan.stream s WHERE s.stream = %s
"""
SLOT = """
SELECT coalesce(wal_status, 'reserved'), active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint,
       greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn), 0)::bigint, safe_wal_size
  FROM pg_replication_slots WHERE slot_name = %s
"""


def stream_figures(context: Context, domain: str, direction: str) -> StreamFigures | None:
    """One stream, from both its ends. None when it was not prepared. Raises: Unreachable, NotConfigured."""
    described = compile_stream(context.plan, domain, direction, context.env)
    source, target = _ends(direction)
    try:
        with context.control(domain, target) as connection:
            row = connection.execute(STREAM, [described["name"]]).fetchone()
            snapshot = _snapshot(connection, described["name"])
    except NotPrepared:
        return None
    if row is None:
        return None
    state, lsn, commit_at, applied_at, now, parked, filled, halted = row
    with context.control(domain, source) as connection:
        slot = connection.execute(SLOT, [lsn, described["slot"]]).fetchone() or ("missing", False, None, None, None)
    silent = (now - applied_at).total_seconds() * 1000 if applied_at else None
    lag = lag_ms(commit_at, applied_at, now)
    return StreamFigures(
        state,
        slot[0],
        bool(slot[1]),
        lag,
        silent,
        parked,
        lsn,
        retained_bytes=slot[2],
        unapplied_bytes=slot[3],
        halted=halted,
        room_bytes=slot[4],
        filled=filled,
        snapshot=snapshot,
    )


def _snapshot(connection: Connection, stream: str) -> Standing | None:
    try:
        return standing.read(connection, stream)
    except cdc.errors.NotPrepared:  # by an older version
        return None


def gateway_figures(context: Context, domain: str) -> GatewayFigures | None:
    """What the gateway says of the domain; None when it does not answer, or does not know the domain."""
    try:
        context.admin().table()  # connects; what is timed is what a call costs within a pause
        started = time.perf_counter()
        said = context.admin().status()
    except (AdminError, NotConfigured):
        return None
    return gateway_part(said, domain, (time.perf_counter() - started) * 1000)


def gateway_part(said: dict[str, Any], domain: str, round_trip_ms: float = 0.0) -> GatewayFigures | None:
    """One domain of `GET /v1/status`."""
    part = said.get("domains", {}).get(domain)
    if part is None:
        return None
    service = part.get("requests", {}).get("service", {})
    shadow = part.get("shadow", {})
    return GatewayFigures(
        healthy={side: bool(up) for side, up in part.get("health", {}).items()},
        breakers=dict(part.get("breakers", {})),
        service_per_s=float(service.get("per_s") or 0),
        service_errors_per_s=float(service.get("errors_per_s") or 0),
        shadow_compared=int(shadow.get("compared") or 0),
        shadow_mismatched=int(shadow.get("mismatched") or 0),
        round_trip_ms=round_trip_ms,
        shadow_regressions=tuple(_regression(field) for field in shadow.get("regressions", ())),
    )


def _regression(field: Mapping[str, Any]) -> str:
    """`prices.list $.items[*].price (3 of 300; legacy with itself 0 of 20)`."""
    usual = f"legacy with itself {field['noise']} of {field['twice']}"
    return f"{field['operation']} {field['field']} ({field['raw']} of {field['compared']}; {usual})"


def known_streams(context: Context, domain: str) -> dict[str, StreamFigures]:
    """Those that were prepared. Raises: Unreachable, NotConfigured."""
    streams = {direction: stream_figures(context, domain, direction) for direction in DIRECTIONS}
    return {direction: figures_ for direction, figures_ in streams.items() if figures_ is not None}


def fills(streams: Mapping[str, StreamFigures]) -> dict[str, str]:
    """Which fill each direction's target rows are of; a comparison is of these rows only."""
    return {direction: stream.filled for direction, stream in streams.items() if stream.filled is not None}


def last_verification(
    context: Context, domain: str, streams: Mapping[str, StreamFigures], now: datetime | None = None
) -> Verified | None:
    """The newest comparison, by the ledger or the comparing process, beside the fills that are there now.

    That of the process is as old as its beginning: it may take its time. Raises: Unreachable, NotPrepared.
    """
    kept = kept_state(context, domain)
    rows = context.ledger().history(domain, verb="verify", step="compared", limit=1)
    now = now or datetime.now(UTC)
    if kept is not None and kept.last_began_at and (not rows or (kept.last_ended_at or now) > rows[-1].at):
        return Verified(
            clean=bool(kept.last_clean),
            drift=kept.last_drift or 0,
            age_s=(now - kept.last_began_at).total_seconds(),
            unsettled=kept.last_unsettled or 0,
            refilled=_refilled(kept.last_fills, streams),
        )
    if not rows:
        return None
    measured = rows[-1].entry.measured
    return Verified(
        clean=bool(measured.get("clean")),
        drift=int(measured.get("drift", 0)),
        age_s=(now - rows[-1].at).total_seconds(),
        unsettled=int(measured.get("unsettled", 0)),
        refilled=_refilled(measured.get("fills", {}), streams),
    )


def last_round_trip(context: Context, domain: str) -> RoundTrip | None:
    """When every row was last carried there and back, and what came of it, by the ledger. Raises: Unreachable."""
    rows = context.ledger().history(domain, verb="mapping", step="checked", limit=1)
    if not rows:
        return None
    found = rows[-1].entry.measured
    age_s = (datetime.now(UTC) - rows[-1].at).total_seconds()
    return RoundTrip(int(found.get("rows", 0)), int(found.get("violated", 0)), age_s)


def kept_state(context: Context, domain: str) -> Kept | None:
    """What the comparing process says of the domain; None where it never did, or cannot be asked."""
    try:
        with context.control(domain, "service") as connection:
            return read_kept(connection, domain)
    except (NotConfigured, NotPrepared, Unreachable):
        return None


def _refilled(compared: Mapping[str, str], streams: Mapping[str, StreamFigures]) -> bool:
    return any(compared.get(direction) != fill for direction, fill in fills(streams).items())


def open_transaction_ms(context: Context, domain: str, side: Side) -> float | None:
    """Age of the oldest transaction that would keep the fence waiting; None when ages are hidden from us."""
    with context.control(domain, side) as connection:
        age, hidden = figures(connection.execute(OPEN_TRANSACTIONS, [context.tables(domain, side)]).fetchone())
    return None if hidden else float(age)


def sequence_clash(context: Context, domain: str) -> str | None:
    """What is wrong with the two sides' ranges of ids, in words."""
    found: list[str] = []
    for side in SIDES:
        with context.control(domain, side) as connection:
            found += clashes(connection, context.tables(domain, side), side, context.plan.domain(domain).sequence_split)
    return "; ".join(found) or None


def clashes(connection: Connection, tables: list[str], side: str, split: int) -> list[str]:
    """Sequences of `tables` that start, or have come, where the other side's ids are."""
    wrong = []
    for name, start, last in connection.execute(SEQUENCES, [tables]).fetchall():
        reached = max(start, last or start)
        if side == "legacy" and reached >= split:
            wrong.append(f"{name} of legacy is at {reached}, in the service's range (from {split})")
        if side == "service" and start < split:
            wrong.append(f"{name} of the service starts at {start}, in legacy's range (below {split})")
    return wrong


def measure(context: Context, domain: str, source: Side) -> Measured:
    """Everything that a step looks at. Raises: Unreachable, NotPrepared, NotConfigured."""
    round_trip_ms = _round_trip_ms(context, domain, source)
    known = known_streams(context, domain)
    gateway = gateway_figures(context, domain)
    oldest = open_transaction_ms(context, domain, source)
    carrying = known.get("forward" if source == "legacy" else "reverse")
    predicted = predict(
        _past_pauses(context, domain, source),
        lag=(carrying.lag_ms or 0.0) if carrying else 0.0,
        oldest_transaction=oldest or 0.0,
        round_trip=round_trip_ms,
        gateway=gateway.round_trip_ms if gateway else 0.0,
    )
    return Measured(
        domain,
        known,
        gateway,
        last_verification(context, domain, known),
        last_round_trip(context, domain),
        oldest,
        sequence_clash(context, domain),
        predicted_pause_ms=predicted.expected,
        predicted_interval_ms=(predicted.low, predicted.high),
    )


def way_back(context: Context, domain: str, source: Side) -> WayBack:
    """Write rows of the other side to `source`, as the stream back would after the switch; nothing of it stays."""
    direction = "reverse" if source == "legacy" else "forward"
    described = msgspec.convert(compile_stream(context.plan, domain, direction, context.env), Stream)
    why = ""
    for _ in range(WAY_BACK_TRIES):
        try:
            dsns = [need_dsn(context.env, name) for name in (described.source_dsn_env, described.target_dsn_env)]
            new_from = context.plan.domain(domain).sequence_split if source == "legacy" else None
            found = rehearse(described, context.mapping(domain), dsns[0], dsns[1], new_from=new_from)
        except cdc.errors.Transient as error:
            why = str(error)
        except (cdc.errors.CdcError, MappingError, NotConfigured) as error:
            return WayBack(why=str(error))
        else:
            return WayBack(found.rows, found.refused)
    return WayBack(why=why)


def _round_trip_ms(context: Context, domain: str, side: Side) -> float:
    """A statement on an open connection, which is what a pause is made of."""
    with context.control(domain, side) as connection:
        connection.execute("SELECT 1")
        started = time.perf_counter()
        connection.execute("SELECT 1")
    return (time.perf_counter() - started) * 1000


def _past_pauses(context: Context, domain: str, source: Side) -> list[Past]:
    """Of the same direction, whose databases they waited for."""
    verb = "switch" if source == "legacy" else "rollback"
    try:
        rows = context.ledger().history(domain, verb=verb, step="publish.arrived", limit=PAST)
    except (Unreachable, NotPrepared):
        return []
    found = [(row.entry.measured.get("pause_ms"), row.entry.measured.get("steps", {})) for row in rows]
    return [Past(pause, steps.get("fence", 0.0), steps.get("catch_up", 0.0)) for pause, steps in found if pause]


def _ends(direction: str) -> tuple[Side, Side]:
    source: Side = "legacy" if direction == "forward" else "service"
    return source, other(source)
