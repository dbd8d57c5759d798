"""What the sources say: plain values, with for each source when it last answered and since when it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PHASES = ("legacy", "shadow", "canary", "service", "retired")
SIDES = ("legacy", "service")
BUCKETS = 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """One side's traffic at the moment."""

    per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    errors_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wave:
    """A bucket range and where it stands."""

    number: int
    bucket_from: int
    bucket_to: int
    phase: str
    canary_percent: float
    owner: str
    epoch: int
    hold: bool

    @property
    def share(self) -> float:
        """Of all keys, 0 to 1."""
        return (self.bucket_to - self.bucket_from) / BUCKETS

    @property
    def moving(self) -> bool:
        return self.hold or self.owner == "moving"

    @property
    def reads_at_service(self) -> float:
        """Of this wave's reads, 0 to 1."""
        if self.phase == "canary":
            return self.canary_percent / 100
        return 1.0 if self.phase in ("service", "retired") else 0.0


@dataclass(frozen=True, slots=True)
class Domain:
    """The gateway's view of a domain. Counters grow for as long as the gateway runs."""

    waves: tuple[Wave, ...]
    shadow_percent: float = 0.0
    figures: Mapping[str, Figures] = field(default_factory=dict)
    breakers: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, bool] = field(default_factory=dict)
    fallbacks: int = 0
    held: int = 0
    rerouted: int = 0
    compared: int = 0
    mismatched: int = 0
    regressions: tuple[str, ...] = ()  # operation and field, in which the service differs


@dataclass(frozen=True, slots=True)
class Gateway:
    version: int
    workers: int
    domains: Mapping[str, Domain]


@dataclass(frozen=True, slots=True)
class Reading:
    """A fill, or rows that are read again: how far it is. `rate`: rows a second; `eta_s` None while nobody can tell;
    `waits`: why it pauses."""

    table: str
    rows: int
    expected: int
    rate: float = 0.0
    eta_s: float | None = None
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """A change stream; `state` in its own words, `lag_ms` None before its first position. `lag_bytes`: WAL not applied
    yet; `retained_bytes`: WAL that its slot keeps at the source. `alarms`: what somebody should be called for.
    `reading`: what it reads from its tables now, beside the changes, if anything."""

    answers: bool
    state: str = ""
    lag_ms: float | None = None
    parked: int = 0
    lag_bytes: int = 0
    retained_bytes: int = 0
    alarms: tuple[str, ...] = ()
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """`step` is `name.begin`, `name.done`, `name.failed` or a single word; rows of one use of a verb share `run_id`."""

    id: int
    run_id: str
    at: datetime
    actor: str
    domain: str
    verb: str
    step: str
    before: str | None
    after: str | None
    measured: Mapping[str, Any]
    reason: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The newest comparison of a domain's two sides. None: the ledger does not say."""

    at: datetime
    clean: bool | None
    rows: int | None
    drift: int | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The newest rows, oldest first; by domain, the last verification, and the freeze that stands."""

    rows: tuple[LedgerRow, ...]
    verifications: Mapping[str, Verification]
    frozen: Mapping[str, LedgerRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What a source said last (`value` at `at`), and since when it has failed to say anything newer."""

    value: T | None = None
    at: datetime | None = None
    failing_since: datetime | None = None
    error: str = ""

    def said(self, value: T, at: datetime) -> Part[T]:
        return Part(value, at)

    def failed(self, error: str, at: datetime) -> Part[T]:
        return Part(self.value, self.at, self.failing_since or at, error)

    @property
    def ok(self) -> bool:
        return self.at is not None and self.failing_since is None


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything that is known, from four independent sources."""

    gateway: Part[Gateway] = field(default_factory=Part)
    streams: Part[Mapping[str, Stream]] = field(default_factory=Part)
    ledger: Part[Ledger] = field(default_factory=Part)
    components: Part[Mapping[str, bool]] = field(default_factory=Part)
