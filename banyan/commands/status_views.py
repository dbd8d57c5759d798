"""How `banyan status` looks: all there is where it fits, less on a narrow terminal. Words tell, colours only help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from cdc.alarms import WARN, megabytes
from migration_plan.status import UNKNOWN, DomainStatus, Status, StreamStatus, WaveStatus

# Less WAL than that is always on its way somewhere, bytes.
TELLING = 64 * 1024

#: A row's cells: of its wave, then of its domain, which are told in the domain's first row only.
OfWave = Callable[[WaveStatus], str]
OfDomain = Callable[[DomainStatus], str]
Columns = tuple[Sequence[tuple[str, OfWave]], Sequence[tuple[str, OfDomain]]]


def show_status(found: Status, out: Console, err: Console) -> None:
    table, told_below = _fitting(found, out)
    out.print(table)
    version = (
        f"route table {found.gateway_version}" if found.gateway_version is not None else "the gateway does not answer"
    )
    if told_below:
        version += _sides(found.domains)
    out.print(f"[dim]{version}[/]", soft_wrap=True)
    for domain in found.domains:
        for direction, stream in domain.streams.items():
            if stream.snapshot is not None:
                out.print(f"{domain.domain}: the {direction} stream {escape(str(stream.snapshot))}", soft_wrap=True)
    for domain in found.domains:
        for problem in domain.problems:
            err.print(f"[yellow]{domain.domain}[/]: {escape(problem)}", soft_wrap=True)
    for problem in found.problems:
        err.print(f"[yellow]note[/]: {escape(problem)}", soft_wrap=True)


def _fitting(found: Status, out: Console) -> tuple[Table, bool]:
    """The fullest table that fits, and whether what it leaves out of breakers and health is told below."""
    for columns in (WIDE, MEDIUM):
        table = _table(found.domains, columns, padding=2)
        if _natural(table, out) <= out.width:
            return table, False
    return _table(found.domains, NARROW, padding=1), True


def _natural(table: Table, out: Console) -> int:
    """Columns that the table takes when nothing is wrapped."""
    unbounded = out.options.update(width=1000, max_width=1000)
    return Measurement.get(out, unbounded, table).maximum


def _table(domains: Sequence[DomainStatus], columns: Columns, padding: int) -> Table:
    of_wave, of_domain = columns
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, padding, 0, 0))
    for name in ("domain", *(name for name, _ in of_wave), *(name for name, _ in of_domain)):
        table.add_column(name)
    for domain in domains:
        for number, wave in enumerate(domain.waves):
            name = domain.domain if len(domain.waves) == 1 else f"{domain.domain} {wave.wave}"
            rest = [told(domain) if number == 0 else "" for _, told in of_domain]
            table.add_row(name, *(told(wave) for _, told in of_wave), *rest)
    return table


def _phase(wave: WaveStatus) -> str:
    if wave.phase == UNKNOWN:
        return "[red]unknown[/]"
    return f"canary {wave.canary_percent} %" if wave.phase == "canary" else wave.phase


def _owner(wave: WaveStatus) -> str:
    return f"{wave.owner} · epoch {wave.epoch}" if wave.owner else "[red]unknown[/]"


def _owner_short(wave: WaveStatus) -> str:
    return wave.owner or "[red]unknown[/]"


def _stream(domain: DomainStatus, direction: str) -> str:
    stream = domain.streams.get(direction)
    if stream is None:
        return "over" if domain.phase == "retired" else "not prepared"
    if stream.problem is not None:
        return _good("halted" if stream.state == "halted" else f"slot {stream.slot}", False)
    if stream.lag_ms is None or stream.state == "snapshot":
        return _good(_filling(stream), stream.alive)
    lag = f"{stream.lag_ms:.0f} ms" if stream.lag_ms < 10_000 else _span(stream.lag_ms / 1000)
    if stream.lag_bytes is not None and stream.lag_bytes >= TELLING:
        lag += f" {megabytes(stream.lag_bytes)}"
    return _good(lag if stream.alive else f"silent, {lag}", stream.alive)


def _filling(stream: StreamStatus) -> str:
    if stream.snapshot is None or not stream.snapshot.expected:
        return stream.state
    return f"fills, {100 * stream.snapshot.rows / stream.snapshot.expected:.0f} %"


def _forward(domain: DomainStatus) -> str:
    return _stream(domain, "forward")


def _reverse(domain: DomainStatus) -> str:
    return _stream(domain, "reverse")


def _parked(domain: DomainStatus) -> str:
    return _count(domain.streams.values())


def _count(streams: Iterable[StreamStatus]) -> str:
    counts = [stream.parked for stream in streams]
    return "[red]unknown[/]" if None in counts else str(sum(count or 0 for count in counts))


def _wal(domain: DomainStatus) -> str:
    """What both slots keep at their sources; red where a slot comes near its end."""
    told = []
    for stream in domain.streams.values():
        if stream.retained_bytes is None:
            continue
        room = stream.room_bytes
        near = room is not None and stream.retained_bytes > WARN * (stream.retained_bytes + room)
        told.append(_good(megabytes(stream.retained_bytes), not near))
    return " + ".join(told) or "–"


def _verified(domain: DomainStatus) -> str:
    verified = domain.verify
    if verified is None:
        return "[red]unknown[/]" if domain.phase == UNKNOWN else "never"
    if verified.refilled:
        return _good("before a fill", False)
    said = "clean" if verified.clean else f"{verified.drift} differ"
    return _good(f"{said}, {_span(verified.age_s)} ago", verified.clean)


def _verified_short(domain: DomainStatus) -> str:
    return _verified(domain).replace(" ago", "")


def _breakers(domain: DomainStatus) -> str:
    return ", ".join(f"{side} {_good(state, state == 'closed')}" for side, state in domain.breakers.items()) or "–"


def _health(domain: DomainStatus) -> str:
    return ", ".join(_good(f"{side} {'up' if up else 'DOWN'}", up) for side, up in domain.health.items()) or "–"


def _troubles(domain: DomainStatus) -> list[str]:
    """What is not as it should be of breakers and health."""
    return [
        *(f"{side} DOWN" for side, up in domain.health.items() if not up),
        *(f"{side}'s breaker {state}" for side, state in domain.breakers.items() if state != "closed"),
    ]


def _well(domain: DomainStatus) -> str:
    if troubles := _troubles(domain):
        return _good(", ".join(troubles), False)
    return _good("well", True) if domain.health else "–"


def _sides(domains: Sequence[DomainStatus]) -> str:
    troubles = [f"{domain.domain}: {', '.join(found)}" for domain in domains if (found := _troubles(domain))]
    if troubles:
        return f" · [/][red]{'; '.join(troubles)}[/][dim]"
    return " · all sides up, breakers closed" if any(domain.health for domain in domains) else ""


def _span(seconds: float) -> str:
    """`90 s`, `12 min`, `30 h`, `4 d`."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _good(text: str, good: bool) -> str:
    return f"[green]{text}[/]" if good else f"[red]{text}[/]"


WIDE: Columns = (
    (("phase", _phase), ("writes at", _owner)),
    (
        ("legacy → service", _forward),
        ("service → legacy", _reverse),
        ("WAL kept", _wal),
        ("parked", _parked),
        ("verified", _verified),
        ("breakers", _breakers),
        ("health", _health),
    ),
)
# Breakers and health in one word where all is well.
MEDIUM: Columns = (
    WIDE[0],
    (
        ("→ service", _forward),
        ("→ legacy", _reverse),
        ("parked", _parked),
        ("verified", _verified),
        ("sides", _well),
    ),
)
# And without epochs; breakers and health are one line below the table.
NARROW: Columns = (
    (("phase", _phase), ("writes at", _owner_short)),
    (("→ service", _forward), ("→ legacy", _reverse), ("parked", _parked), ("verified", _verified_short)),
)
