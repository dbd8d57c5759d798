"""A domain's card as values: its journey, who answers, how far the sides are in step, what was compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from cdc.alarms import megabytes
from console import words
from console.readings import PHASES, SIDES, Domain, Figures, Readings, Stream, Verification

LAG_WARNING_MS = 1000.0
SIDE_NAMES = {"legacy": "monolith", "service": "service"}


@dataclass(frozen=True, slots=True)
class Station:
    """A stop of the journey; `note` says what it means, or how far it has come."""

    phase: str
    state: Literal["done", "current", "ahead"]
    note: str


@dataclass(frozen=True, slots=True)
class Side:
    """A side's figures now. `state` in words: health and breaker."""

    side: str
    name: str
    per_s: str
    share: float  # of the domain's requests, 0–100
    share_words: str
    p50: str
    p99: str
    errors: str
    breaker: str
    breaker_words: str
    healthy: bool | None


@dataclass(frozen=True, slots=True)
class Sync:
    """One direction of the change streams."""

    direction: str
    title: str
    lag: str
    lag_ms: float | None
    state: Literal["ok", "behind", "down", "unknown"]
    said: str
    reading: ReadingView | None = None


@dataclass(frozen=True, slots=True)
class ReadingView:
    """A fill, or rows that are read again: a bar and its words."""

    share: float  # of the rows, 0–100
    said: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The last comparison of all rows of both sides."""

    state: Literal["clean", "drift", "never"]
    text: str
    said: str


@dataclass(frozen=True, slots=True)
class DomainView:
    name: str
    known: bool
    sentence: str
    trouble: str
    frozen: str
    phase: str
    stations: tuple[Station, ...]
    owner: str
    aim: str
    total: str
    busy: bool
    sides: tuple[Side, ...]
    syncs: tuple[Sync, ...]
    verified: Verified
    fallbacks: str
    held: str
    rerouted: str
    compared: str
    mismatched: str
    regressions: tuple[str, ...]


def domain_view(name: str, readings: Readings, now: datetime) -> DomainView:
    gateway = readings.gateway.value
    domain = gateway.domains.get(name) if gateway else None
    seen = domain or Domain(waves=())
    total = sum(seen.figures.get(side, Figures()).per_s for side in SIDES)
    streams = readings.streams.value or {}
    ledger = readings.ledger.value
    return DomainView(
        name=name,
        known=domain is not None,
        sentence=words.standing(name, domain) if domain else _unknown(name, readings),
        trouble=words.trouble(name, seen) or "",
        frozen=words.frozen(name, ledger.frozen.get(name)) if ledger else "",
        phase=phase_words(seen),
        stations=stations(seen),
        owner=owner_words(seen),
        aim=aim_words(seen),
        total=words.rate(total),
        busy=total > 0,
        sides=tuple(side_view(side, seen, total) for side in SIDES),
        syncs=tuple(sync_view(way, streams.get(f"{name}.{way}")) for way in ("forward", "reverse")),
        verified=verified_view(ledger.verifications.get(name) if ledger else None, ledger is not None, now),
        fallbacks=words.count(seen.fallbacks),
        held=words.count(seen.held),
        rerouted=words.count(seen.rerouted),
        compared=words.count(seen.compared),
        mismatched=words.count(seen.mismatched),
        regressions=seen.regressions,
    )


def _unknown(name: str, readings: Readings) -> str:
    if readings.gateway.value is not None:
        return f"{name}: not in the gateway's route table, so the monolith answers"
    return f"{name}: unknown until the gateway answers"


def stations(domain: Domain) -> tuple[Station, ...]:
    """With several waves, several stations may be lit; each says how many of the keys stand there."""
    here = {phase: sum(wave.share for wave in domain.waves if wave.phase == phase) for phase in PHASES}
    reached = [index for index, phase in enumerate(PHASES) if here[phase]]
    found = []
    for index, phase in enumerate(PHASES):
        state: Literal["done", "current", "ahead"] = "ahead"
        if here[phase]:
            state = "current"
        elif reached and index < max(reached):
            state = "done"
        found.append(Station(phase, state, _note(phase, domain, here[phase])))
    return tuple(found)


def _note(phase: str, domain: Domain, share: float) -> str:
    if not share:
        return words.STATIONS[phase]
    keys = f" · {words.percent(share)} of keys" if share < 1 else ""
    if phase == "canary":
        waves = [wave for wave in domain.waves if wave.phase == "canary"]
        reads = sum(wave.share * wave.reads_at_service for wave in waves) / sum(wave.share for wave in waves)
        return f"{words.percent(reads)} of reads go to the service{keys}"
    return words.STATIONS[phase] + keys


def phase_words(domain: Domain) -> str:
    """The pill beside the name."""
    phases = list(dict.fromkeys(wave.phase for wave in domain.waves))
    if not phases:
        return "unknown"
    if any(wave.moving for wave in domain.waves):
        return "changing hands"
    if phases == ["canary"] and len({wave.canary_percent for wave in domain.waves}) == 1:
        return f"canary {words.percent(domain.waves[0].canary_percent / 100)}"
    return " / ".join(phases)


def owner_words(domain: Domain) -> str:
    owners = list(dict.fromkeys(wave.owner for wave in domain.waves))
    if len(owners) != 1:
        return "by wave" if owners else "unknown"
    return {"legacy": "the monolith", "service": "the service", "moving": "nobody, for a moment"}[owners[0]]


def aim_words(domain: Domain) -> str:
    reads = sum(wave.share * wave.reads_at_service for wave in domain.waves)
    writes = sum(wave.share for wave in domain.waves if wave.owner == "service")
    if not domain.waves:
        return "The gateway has not said where requests belong"
    if not reads and not writes:
        return "No client's request goes to the service"
    return f"{words.percent(reads)} of reads and {words.percent(writes)} of writes belong at the service"


def side_view(side: str, domain: Domain, total: float) -> Side:
    figures = domain.figures.get(side, Figures())
    share = 100 * figures.per_s / total if total else 0.0
    breaker = domain.breakers.get(side, "")
    return Side(
        side=side,
        name=SIDE_NAMES[side],
        per_s=words.rate(figures.per_s),
        share=round(share, 2),
        share_words=words.percent(share / 100),
        p50=words.milliseconds(figures.p50_ms if figures.per_s else None),
        p99=words.milliseconds(figures.p99_ms if figures.per_s else None),
        errors=words.rate(figures.errors_per_s),
        breaker=breaker or "unknown",
        breaker_words=words.BREAKERS.get(breaker, "the gateway has not said"),
        healthy=domain.health.get(side),
    )


def sync_view(direction: str, stream: Stream | None) -> Sync:
    found = _sync(direction, stream)
    return found if stream is None or stream.reading is None else replace(found, reading=reading_view(stream))


def reading_view(stream: Stream) -> ReadingView:
    reading = stream.reading
    assert reading is not None
    share = min(100.0, 100 * reading.rows / reading.expected) if reading.expected else 0.0
    what = "filling" if stream.state == "snapshot" else "reading again"
    said = f"{what} {reading.table}: {words.count(reading.rows)} of about {words.count(reading.expected)} rows"
    if reading.waits:
        said += f", waits: {reading.waits}"
    else:
        said += f", {words.count(round(reading.rate))} rows/s"
        said += f", about {words.duration(reading.eta_s)} left" if reading.eta_s is not None else ""
    return ReadingView(round(share, 1), said)


def _sync(direction: str, stream: Stream | None) -> Sync:
    title = "monolith → service" if direction == "forward" else "service → monolith"
    if stream is None:
        return Sync(direction, title, "–", None, "unknown", "not configured or not asked yet")
    if not stream.answers:
        said = "the stream's process does not answer: `banyan status` says why"
        return Sync(direction, title, "no answer", None, "down", said)
    lag = words.milliseconds(stream.lag_ms)
    kept = f"{megabytes(stream.lag_bytes)} to apply, {megabytes(stream.retained_bytes)} of WAL kept"
    said = f"{stream.state or 'running'}; {kept}"
    if stream.alarms and (stream.state == "halted" or not stream.parked):
        return Sync(direction, title, lag, stream.lag_ms, "behind", f"{stream.alarms[0]}; {said}")
    if stream.parked:
        keys = "one key waits" if stream.parked == 1 else f"{words.count(stream.parked)} keys wait"
        return Sync(direction, title, lag, stream.lag_ms, "behind", f"{keys} for a person; {said}")
    if stream.lag_ms is None:
        return Sync(direction, title, lag, None, "unknown", f"{said}, no position yet")
    behind = stream.lag_ms > LAG_WARNING_MS or stream.state == "snapshot"  # rows are missing until it is filled
    return Sync(direction, title, lag, stream.lag_ms, "behind" if behind else "ok", said)


def verified_view(found: Verification | None, ledger_known: bool, now: datetime) -> Verified:
    if found is None:
        said = "run `banyan verify`" if ledger_known else "the ledger has not been read"
        return Verified("never", "not yet" if ledger_known else "unknown", said)
    ago = f"{words.duration(max(0.0, (now - found.at).total_seconds()))} ago"
    said = f"{words.count(found.rows)} rows compared, {ago}" if found.rows is not None else ago
    if found.clean is False:
        number = words.count(found.drift) if found.drift else "some"
        return Verified("drift", f"{number} rows differ", said)
    return Verified("clean", "both sides equal", said)
