"""Where every wave stands: ledger, both databases, streams, gateway. Shows what it can when something is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gateway.control.table import RouteTable
from gateway.errors import AdminError
from migration_plan.compile import DIRECTIONS
from migration_plan.context import SIDES, Context
from migration_plan.errors import PlanError
from migration_plan.gates.judge import SILENT_AFTER_MS
from migration_plan.gates.measure import gateway_part, last_verification, stream_figures
from migration_plan.ledger import State
from migration_plan.plan import Side
from migration_plan.switch.adapters import GuardTable

T = TypeVar("T")


class OwnerStatus(msgspec.Struct, frozen=True):
    owner: str
    epoch: int


class WaveStatus(msgspec.Struct, frozen=True):
    """`legacy` and `service`: the two databases' rows; `routed`: the gateway's, None when it is away."""

    wave: int
    bucket_from: int
    bucket_to: int
    phase: str
    canary_percent: int
    owner: str | None
    epoch: int | None
    legacy: OwnerStatus | None
    service: OwnerStatus | None
    routed: dict[str, Any] | None


class StreamStatus(msgspec.Struct, frozen=True):
    state: str
    alive: bool
    lag_ms: float | None
    lsn: str | None
    parked: int
    slot: str
    retained_bytes: int | None


class VerifyStatus(msgspec.Struct, frozen=True):
    clean: bool
    drift: int
    age_s: float


class DomainStatus(msgspec.Struct, frozen=True):
    """`phase`, `canary_percent`, `owner` and `epoch` are the first wave's; the rest is in `waves`."""

    domain: str
    phase: str
    canary_percent: int
    owner: str | None
    epoch: int | None
    waves: list[WaveStatus]
    streams: dict[str, StreamStatus]
    verify: VerifyStatus | None
    requests: dict[str, Any]
    breakers: dict[str, str]
    health: dict[str, bool]
    shadow: dict[str, Any]
    counters: dict[str, int]
    problems: list[str]


class Status(msgspec.Struct, frozen=True):
    """`gateway_version`: of the route table; None when the gateway is away. `at`: Unix seconds."""

    at: float
    actor: str
    gateway_version: int | None
    workers: int | None
    domains: list[DomainStatus]
    problems: list[str]

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def read(context: Context) -> Status:
    """Everything there is to see. Never raises for a part that is away: it is named in `problems`."""
    problems: list[str] = []
    states = _try(lambda: context.ledger().states(), problems) or {}
    said = _try(lambda: context.admin().status(), problems) or {}
    table = _try(lambda: context.admin().table(), problems)
    domains = [_domain(context, name, states, said, table) for name in context.plan.domains]
    version = table.version if table else None
    return Status(time.time(), context.actor, version, said.get("workers"), domains, list(dict.fromkeys(problems)))


def _domain(
    context: Context, name: str, states: dict[tuple[str, int], State], said: dict[str, Any], table: RouteTable | None
) -> DomainStatus:
    problems: list[str] = []
    waves = [
        _wave(context, name, number, states, table, problems) for number in range(len(context.plan.domain(name).waves))
    ]
    streams = {direction: _stream(context, name, direction, problems) for direction in DIRECTIONS}
    verified = _try(lambda: last_verification(context, name), problems)
    part = said.get("domains", {}).get(name, {})
    figures = gateway_part(said, name)
    return DomainStatus(
        name,
        waves[0].phase,
        waves[0].canary_percent,
        waves[0].owner,
        waves[0].epoch,
        waves,
        {direction: stream for direction, stream in streams.items() if stream is not None},
        VerifyStatus(verified.clean, verified.drift, verified.age_s) if verified else None,
        dict(part.get("requests", {})),
        dict(figures.breakers) if figures else {},
        dict(figures.healthy) if figures else {},
        dict(part.get("shadow", {})),
        {key: int(part[key]) for key in ("fallbacks", "held", "rerouted") if key in part},
        list(dict.fromkeys(problems)),
    )


def _wave(
    context: Context,
    name: str,
    number: int,
    states: dict[tuple[str, int], State],
    table: RouteTable | None,
    problems: list[str],
) -> WaveStatus:
    planned, state = context.plan.domain(name).waves[number], states.get((name, number))
    rows = {side: _owner(context, name, number, side, problems) for side in SIDES}
    deciding = next((row for side, row in rows.items() if row is not None and row.owner == side), None)
    moving = next((row for row in rows.values() if row is not None and row.owner == "moving"), None)
    owned = deciding or moving
    if moving is not None:
        problems.append(f"wave {number} is moving: if no switch is at work, run the last `banyan` command again")
    if state is not None and deciding is not None and state.stand.owner != deciding.owner:
        problems.append(
            f"the ledger says {state.stand}, but {deciding.owner} owns wave {number}: run the last command again"
        )
    stand = state.stand if state else None
    routed = (
        next((w for w in table.domains[name].waves if w.wave == number), None)
        if table and name in table.domains
        else None
    )
    return WaveStatus(
        number,
        planned.bucket_from,
        planned.bucket_to,
        stand.phase if stand else "legacy",
        stand.percent if stand else 0,
        owned.owner if owned else None,
        owned.epoch if owned else None,
        rows["legacy"],
        rows["service"],
        msgspec.to_builtins(routed) if routed else None,
    )


def _owner(context: Context, name: str, number: int, side: Side, problems: list[str]) -> OwnerStatus | None:
    row = _try(lambda: GuardTable(context, name, number, side).read(), problems)
    return OwnerStatus(row.owner, row.epoch) if row else None


def _stream(context: Context, name: str, direction: str, problems: list[str]) -> StreamStatus | None:
    found = _try(lambda: stream_figures(context, name, direction), problems)
    if found is None:
        return None
    alive = found.active and found.silent_ms is not None and found.silent_ms <= SILENT_AFTER_MS
    return StreamStatus(found.state, alive, found.lag_ms, found.lsn, found.parked, found.slot, found.retained_bytes)


def _try(look: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return look()
    except (PlanError, AdminError) as error:
        problems.append(str(error))
        return None
