"""The figures that gates judge, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdc.snapshot.standing import Standing


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One direction. `slot`: reserved, extended, unreserved, lost or missing; times are the target database's."""

    state: str
    slot: str
    active: bool
    lag_ms: float | None
    silent_ms: float | None
    parked: int
    lsn: str | None = None
    retained_bytes: int | None = None
    unapplied_bytes: int | None = None  # WAL of the source that the target does not have yet
    halted: str | None = None  # which change of a schema it stands for
    room_bytes: int | None = None  # WAL that may still be written until the slot is lost; None without a bound
    filled: str | None = None  # which fill the target's rows are of: its snapshot's LSN, or "at work"
    snapshot: Standing | None = None  # how far a fill, or what is read again, has come


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """What the gateway says of a domain; rates per second."""

    healthy: Mapping[str, bool]
    breakers: Mapping[str, str]
    service_per_s: float
    service_errors_per_s: float
    shadow_compared: int
    shadow_mismatched: int
    round_trip_ms: float
    shadow_regressions: tuple[str, ...] = ()  # fields in which the service differs, with their counts


@dataclass(frozen=True, slots=True)
class Verified:
    """`refilled`: tables were filled again since, so it says nothing of the rows that are there now."""

    clean: bool
    drift: int
    age_s: float
    unsettled: int = 0
    refilled: bool = False


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The newest check of the mapping on every row of both sides."""

    rows: int
    violated: int
    age_s: float


@dataclass(frozen=True, slots=True)
class WayBack:
    """What came of rows that were written the way a rollback writes them, and rolled back. `why`: they were not."""

    rows: int = 0
    refused: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that is looked at before a step. None: it could not be measured."""

    domain: str
    streams: Mapping[str, StreamFigures] = field(default_factory=dict)
    gateway: GatewayFigures | None = None
    verified: Verified | None = None
    round_trip: RoundTrip | None = None
    open_transaction_ms: float | None = None
    sequence_clash: str | None = None
    way_back: WayBack | None = None
    predicted_pause_ms: float = 0.0
    predicted_interval_ms: tuple[float, float] | None = None  # nine of ten pauses lie in it
