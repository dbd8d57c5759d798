"""Where every wave stands: ledger, both databases, streams, gateway. Shows what it can when something is away."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from cdc.snapshot.standing import Standing
from gateway.control.table import RouteTable
from migration_plan import freezing
from migration_plan.compile import DIRECTIONS
from migration_plan.context import SIDES, Context
from migration_plan.crowds import crowd_problems
from migration_plan.databases import STACK_HINT
from migration_plan.errors import NotConfigured, PlanError, Unreachable
from migration_plan.gates.judge import SILENT_AFTER_MS, stuck
from migration_plan.gates.measure import gateway_part, kept_state, last_verification, stream_figures
from migration_plan.gates.measured import StreamFigures
from migration_plan.ledger import Row, State
from migration_plan.looks import Away, Looks
from migration_plan.plan import Side
from migration_plan.switch.adapters import GuardTable
from migration_plan.watching import NAMED, Comparing, ForeignWrite, alarm, comparing, foreign_writes

#: The phase of a wave, and the state of a stream, whose record cannot be read.
UNKNOWN = "unknown"


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
    """`state` is "unknown", and `parked` None, when an end of the stream is away. `problem`: why it cannot go on, and
    the command that helps. `lag_bytes`: WAL not applied yet; `retained_bytes`: WAL that its slot keeps at the source,
    `room_bytes`: that may still be written until the slot is lost; `snapshot`: how far a fill, or what is read again,
    has come."""

    state: str
    alive: bool
    lag_ms: float | None = None
    lsn: str | None = None
    parked: int | None = None
    slot: str = UNKNOWN
    retained_bytes: int | None = None
    problem: str | None = None
    lag_bytes: int | None = None
    room_bytes: int | None = None
    snapshot: Standing | None = None


class VerifyStatus(msgspec.Struct, frozen=True):
    """`refilled`: tables were filled again since, so it says nothing of the rows that are there now."""

    clean: bool
    drift: int
    age_s: float
    refilled: bool = False


class Freeze(msgspec.Struct, frozen=True):
    """Since when the domain takes no step forward, by whom and why."""

    by: str
    at: str
    why: str | None


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
    comparing: Comparing | None = None
    foreign: list[ForeignWrite] = []
    frozen: Freeze | None = None


class Status(msgspec.Struct, frozen=True):
    """`gateway_version`: of the route table; None when the gateway is away. `at`: Unix seconds.

    `away`: what could not be asked, each server once; `unset`: what no variable leads to. `answered`: something did.
    """

    at: float
    actor: str
    gateway_version: int | None
    workers: int | None
    domains: list[DomainStatus]
    problems: list[str]
    away: list[Away]
    unset: list[str]
    answered: bool

    @property
    def complete(self) -> bool:
        """Everything could be asked, and no stream stands."""
        return not self.away and not self.unset and not self._broken

    @property
    def _broken(self) -> bool:
        return any(stream.problem for domain in self.domains for stream in domain.streams.values())

    def nothing(self) -> PlanError:
        """Why nothing at all could be seen."""
        if not self.away:
            return NotConfigured(self.unset[0])
        return Unreachable(f"nothing answers at {', '.join(away.at for away in self.away)}: {STACK_HINT}")

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def read(context: Context) -> Status:
    """Everything there is to see. Never raises for a part that is away: it is in `away`, and named in `problems`."""
    looks, problems = Looks(context.env.get("BANYAN_GATEWAY_ADMIN_URL", "")), list[str]()
    states = looks.at(lambda: context.ledger().states(), problems)
    frozen = looks.at(lambda: context.ledger().frozen(), problems) or {}
    said = looks.at(lambda: context.admin().status(), problems) or {}
    table = looks.at(lambda: context.admin().table(), problems)
    domains = [_domain(context, looks, name, states, said, table, frozen.get(name)) for name in context.plan.domains]
    return Status(
        time.time(),
        context.actor,
        table.version if table else None,
        said.get("workers"),
        domains,
        [*map(str, looks.away), *looks.unset, *dict.fromkeys(problems)],
        looks.away,
        looks.unset,
        looks.answered,
    )


def _domain(
    context: Context,
    looks: Looks,
    name: str,
    states: dict[tuple[str, int], State] | None,
    said: dict[str, Any],
    table: RouteTable | None,
    frozen: Row | None,
) -> DomainStatus:
    problems: list[str] = []
    numbers = range(len(context.plan.domain(name).waves))
    waves = [_wave(context, looks, name, number, states, table, problems) for number in numbers]
    figured = {direction: _figures(context, looks, name, direction, problems) for direction in DIRECTIONS}
    streams = {direction: _stream(name, direction, found, problems) for direction, found in figured.items()}
    filled = {direction: found for direction, found in figured.items() if isinstance(found, StreamFigures)}
    verified = looks.at(lambda: last_verification(context, name, filled), problems)
    part = said.get("domains", {}).get(name, {})
    gateway = gateway_part(said, name)
    problems += crowd_problems(part)
    kept = kept_state(context, name)
    if frozen is not None:
        problems.append(freezing.words(name, frozen))
    foreign = [found for side in SIDES for found in foreign_writes(context, looks, name, side, problems)]
    problems += [alarm(name, found) for found in foreign[:NAMED]]
    return DomainStatus(
        name,
        waves[0].phase,
        waves[0].canary_percent,
        waves[0].owner,
        waves[0].epoch,
        waves,
        {direction: stream for direction, stream in streams.items() if stream is not None},
        VerifyStatus(verified.clean, verified.drift, verified.age_s, verified.refilled) if verified else None,
        dict(part.get("requests", {})),
        dict(gateway.breakers) if gateway else {},
        dict(gateway.healthy) if gateway else {},
        dict(part.get("shadow", {})),
        {
            **{key: int(part[key]) for key in ("fallbacks", "held", "rerouted") if key in part},
            **part.get("refused", {}),
        },
        list(dict.fromkeys(problems)),
        comparing(kept) if kept else None,
        foreign,
        Freeze(frozen.entry.actor, frozen.at.isoformat(timespec="seconds"), frozen.entry.reason) if frozen else None,
    )


def _wave(
    context: Context,
    looks: Looks,
    name: str,
    number: int,
    states: dict[tuple[str, int], State] | None,
    table: RouteTable | None,
    problems: list[str],
) -> WaveStatus:
    planned, state = context.plan.domain(name).waves[number], (states or {}).get((name, number))
    rows = {side: _owner(context, looks, name, number, side, problems) for side in SIDES}
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
        stand.phase if stand else UNKNOWN if states is None else "legacy",
        stand.percent if stand else 0,
        owned.owner if owned else None,
        owned.epoch if owned else None,
        rows["legacy"],
        rows["service"],
        msgspec.to_builtins(routed) if routed else None,
    )


def _owner(
    context: Context, looks: Looks, name: str, number: int, side: Side, problems: list[str]
) -> OwnerStatus | None:
    row = looks.at(lambda: GuardTable(context, name, number, side).read(), problems)
    return OwnerStatus(row.owner, row.epoch) if row else None


def _figures(
    context: Context, looks: Looks, name: str, direction: str, problems: list[str]
) -> StreamFigures | StreamStatus | None:
    """None when it was not prepared; a status of its own when an end is away."""
    return looks.at(lambda: stream_figures(context, name, direction), problems, StreamStatus(UNKNOWN, alive=False))


def _stream(
    name: str, direction: str, found: StreamFigures | StreamStatus | None, problems: list[str]
) -> StreamStatus | None:
    if found is None or isinstance(found, StreamStatus):
        return found
    alive = found.active and found.silent_ms is not None and found.silent_ms <= SILENT_AFTER_MS
    why = stuck(name, direction, found)
    problem = f"{why.measured}; {why.help}" if why else None
    if problem is not None:
        problems.append(f"the {direction} stream cannot go on: {problem}")
    state = "halted" if found.halted is not None else found.state
    return StreamStatus(
        state,
        alive,
        found.lag_ms,
        found.lsn,
        found.parked,
        found.slot,
        found.retained_bytes,
        problem,
        found.unapplied_bytes,
        found.room_bytes,
        found.snapshot,
    )
