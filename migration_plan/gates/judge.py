"""Whether what was measured allows a step: pure. No data is not a pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from migration_plan.errors import NameUnknown, Refused
from migration_plan.gates.measured import Measured, RoundTrip, StreamFigures, Verified
from migration_plan.journey import Stand
from migration_plan.plan import Budgets, Gates, Side
from migration_plan.switch.ports import other

Verdict = Literal["pass", "fail", "inconclusive"]

#: Every gate there is; a step passes some of them.
GATES = (
    "gateway", "health", "forward-stream", "reverse-stream", "lag", "parked", "shadow", "errors", "breaker", "verify",
    "mapping", "way-back", "open-transactions", "sequences", "pause", "served", "readers",
)  # fmt: skip

# What helps when a stream's changes are gone with its slot; `{0}` is the domain, `{1}` the direction. It refuses where
# it would overwrite what only one side has, and says what to do first.
_RECOVERED = "`banyan stream recover {0} --direction {1}` makes slot and rows good again"

#: Fields that a refusal names; `banyan differences` has all.
NAMED = 3

# A stream writes its watermark every second, whether rows flow or not.
SILENT_AFTER_MS = 5_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One gate's result: what was measured, in words, and what helps when it did not pass."""

    gate: str
    verdict: Verdict
    measured: str
    help: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.measured}" + ("" if self.verdict == "pass" else f"; {self.help}")


def for_advance(measured: Measured, gates: Gates, after: Stand) -> list[Finding]:
    """What must hold before reads are shadowed at, or sent to, the service."""
    domain = measured.domain
    findings = [
        _gateway(measured),
        _health(measured, "service"),
        _stream(domain, "forward", measured.streams.get("forward")),
        _lag(domain, "forward", measured.streams.get("forward"), gates),
        _parked(domain, measured.streams),
    ]
    if after.phase == "canary":
        findings += [_shadow(measured, gates), _errors(measured, gates), _breaker(measured, "service")]
        findings.append(_verified(measured, gates))
    return findings


def for_switch(measured: Measured, gates: Gates, budgets: Budgets, source: Side) -> list[Finding]:
    """What must hold before the writes leave `source`: everything is across, and the way back is open."""
    domain, target = measured.domain, other(source)
    carrying, back = ("forward", "reverse") if source == "legacy" else ("reverse", "forward")
    return [
        _gateway(measured),
        _stream(domain, carrying, measured.streams.get(carrying)),
        _lag(domain, carrying, measured.streams.get(carrying), gates),
        _stream(domain, back, measured.streams.get(back)),
        _parked(domain, measured.streams),
        _open_transactions(measured, budgets, source),
        _verified(measured, gates),
        _round_trip(measured, gates),
        _way_back(measured, source),
        _health(measured, target),
        _breaker(measured, target),
        _sequences(measured),
        _pause(measured, budgets),
    ]


def require_known(forced: Iterable[str]) -> None:
    """Before anything is looked up, so that a typing error is told as one. Raises: NameUnknown."""
    for name in forced:
        if name not in GATES:
            raise NameUnknown(f"no gate {name!r}; there are: {', '.join(GATES)}")


def stopping(findings: Sequence[Finding], forced: Collection[str] = ()) -> list[Finding]:
    """The gates that neither passed nor were forced. Raises: NameUnknown for a forced one that is not among them."""
    if findings and (unknown := [name for name in forced if name not in {finding.gate for finding in findings}]):
        names = ", ".join(finding.gate for finding in findings)
        raise NameUnknown(f"no gate {unknown[0]!r} before this step; there are: {names}")
    return [finding for finding in findings if finding.verdict != "pass" and finding.gate not in forced]


def require(findings: Sequence[Finding], forced: Collection[str] = ()) -> Sequence[Finding]:
    """All findings, if each gate passed or was forced. Raises: Refused, naming the rest; NameUnknown for `forced`."""
    if refusing := stopping(findings, forced):
        raise Refused("refused by " + " | ".join(map(str, refusing)))
    return findings


def comparison_due(verified: Verified | None, gates: Gates) -> bool:
    """Whether a step compares both sides before it judges, unless the last comparison found differences."""
    if verified is None or verified.refilled:
        return True
    return not verified.drift and (not verified.clean or verified.age_s > gates.verify_fresh_s)


def round_trip_due(checked: RoundTrip | None, gates: Gates) -> bool:
    """Whether a switch carries every row there and back before it judges, unless that went wrong the last time."""
    return checked is None or (not checked.violated and checked.age_s > gates.mapping_fresh_s)


def _judge(gate: str, ok: bool | None, measured: Any, help_: str) -> Finding:
    verdict: Verdict = "inconclusive" if ok is None else "pass" if ok else "fail"
    return Finding(gate, verdict, str(measured), help_)


def _gateway(measured: Measured) -> Finding:
    figures = measured.gateway
    said = "answers" if figures else "its admin API does not answer"
    return _judge("gateway", True if figures else None, said, "start it, or go on without it: --force-gate gateway")


def _health(measured: Measured, side: Side) -> Finding:
    healthy = measured.gateway.healthy.get(side) if measured.gateway else None
    said = {True: f"{side} is healthy", False: f"{side} is not healthy", None: f"nothing is known of {side}"}[healthy]
    return _judge("health", healthy, said, f"see `banyan logs`; {side} must answer its health check")


def _breaker(measured: Measured, side: Side) -> Finding:
    state = measured.gateway.breakers.get(side) if measured.gateway else None
    said = f"{side}'s breaker is {state}" if state else f"{side}'s breaker is unknown"
    return _judge(
        "breaker", state == "closed" if state else None, said, f"find out why calls of {side} fail, then wait"
    )


def slot_gone(domain: str, direction: str, figures: StreamFigures) -> Finding | None:
    """Of a stream that lost its slot, and changes with it; one that is not filled yet makes its slot by itself."""
    if figures.state != "streaming" or figures.slot in ("reserved", "extended"):
        return None
    log = f"see `banyan logs cdc-{domain}-{direction}`"
    said = f"its slot is {figures.slot}"
    return _judge(f"{direction}-stream", False, said, f"{_RECOVERED.format(domain, direction)}; {log}")


def halted(domain: str, direction: str, figures: StreamFigures) -> Finding | None:
    """Of a stream that stands before a changed table."""
    if figures.halted is None:
        return None
    again = f"make mapping and both schemas fit, then `banyan stream resume {domain}`"
    return _judge(f"{direction}-stream", False, f"it is halted by a changed schema: {figures.halted}", again)


def stuck(domain: str, direction: str, figures: StreamFigures) -> Finding | None:
    """Of a stream that cannot go on by itself."""
    return slot_gone(domain, direction, figures) or halted(domain, direction, figures)


def _stream(domain: str, direction: str, figures: StreamFigures | None) -> Finding:
    gate = f"{direction}-stream"
    log = f"see `banyan logs cdc-{domain}-{direction}`"
    if figures is None:
        return _judge(gate, None, "no stream", f"run `banyan prepare {domain}` and start the stream")
    if figures.state == "prepared":
        return _judge(gate, False, "it is at prepared", f"start it, and wait for its first fill; {log}")
    if (found := stuck(domain, direction, figures)) is not None:
        return found
    if figures.state != "streaming":
        return _judge(gate, False, f"it is at {figures.state}", f"wait until it has filled its tables; {log}")
    silent = figures.silent_ms is None or figures.silent_ms > SILENT_AFTER_MS
    said = "it never spoke" if figures.silent_ms is None else f"last heard of {figures.silent_ms / 1000:.1f} s ago"
    said = said if silent or figures.active else "nobody reads its slot"
    return _judge(gate, not silent and figures.active, said, f"it does not run, or cannot go on: {log}")


def _lag(domain: str, direction: str, figures: StreamFigures | None, gates: Gates) -> Finding:
    lag = figures.lag_ms if figures else None
    said = "unknown" if lag is None else f"{lag:.0f} ms (at most {gates.max_lag_ms})"
    return _judge(
        "lag", lag <= gates.max_lag_ms if lag is not None else None, said, f"wait until cdc-{domain}-{direction} is up"
    )


def _parked(domain: str, streams: Mapping[str, StreamFigures]) -> Finding:
    count = sum(figures.parked for figures in streams.values())
    first = next((direction for direction, figures in streams.items() if figures.parked), "forward")
    stream = f"--stream {domain}.{first}"
    return _judge(
        "parked",
        count == 0,
        f"{count} parked keys",
        f"look: `python -m cdc parked list {stream}`; repair the cause, then `python -m cdc parked replay {stream}`,"
        f" or give a key up: `python -m cdc parked discard {stream} --table TABLE --key KEY`",
    )


def _open_transactions(measured: Measured, budgets: Budgets, source: Side) -> Finding:
    oldest = measured.open_transaction_ms
    if oldest is None:
        grant = "GRANT pg_read_all_stats TO banyan_ctl (`banyan prepare` does it as a superuser)"
        return _judge("open-transactions", None, f"the age of transactions at {source} is hidden", grant)
    said = f"the oldest at {source} is {oldest:.0f} ms (at most {budgets.pause_ms})"
    return _judge(
        "open-transactions", oldest <= budgets.pause_ms, said, "wait until it ends, or end it, then try again"
    )


def _verified(measured: Measured, gates: Gates) -> Finding:
    verified, again = measured.verified, f"run `banyan verify {measured.domain}`"
    if verified is None:
        return _judge("verify", None, "the two sides were never compared", again)
    if verified.refilled:
        return _judge("verify", None, "tables were filled again since the last comparison", again)
    if verified.drift:
        return _judge(
            "verify", False, f"{verified.drift} rows differ", f"find the cause (see its output), then {again}"
        )
    if not verified.clean:
        return _judge(
            "verify", None, f"{verified.unsettled} rows did not settle", f"let the streams catch up, then {again}"
        )
    said = f"clean, {verified.age_s:.0f} s ago (at most {gates.verify_fresh_s})"
    return _judge("verify", verified.age_s <= gates.verify_fresh_s, said, again)


def _round_trip(measured: Measured, gates: Gates) -> Finding:
    checked, again = measured.round_trip, f"run `banyan mapping check {measured.domain}`"
    if checked is None:
        return _judge("mapping", None, "no row was carried there and back yet", again)
    if checked.violated:
        said = f"{checked.violated} of {checked.rows} rows would not come back from a rollback"
        return _judge("mapping", False, said, f"{again}, which names them, and repair rows or mapping")
    said = f"{checked.rows} rows come back, checked {checked.age_s:.0f} s ago (at most {gates.mapping_fresh_s})"
    return _judge("mapping", checked.age_s <= gates.mapping_fresh_s, said, again)


def _way_back(measured: Measured, source: Side) -> Finding:
    """The reverse path is written to before it is needed: that it can be is seldom found out by looking."""
    tried = measured.way_back
    if tried is None or tried.why is not None:
        why = f" ({tried.why})" if tried is not None else ""
        return _judge("way-back", None, f"no row was written back to {source}{why}", "try again in a moment")
    if tried.refused:
        more = f", and {len(tried.refused) - 1} more" if len(tried.refused) > 1 else ""
        repair = f"repair {source}'s tables, or the mapping: a rollback would park such rows"
        return _judge("way-back", False, tried.refused[0] + more, repair)
    return _judge("way-back", True, f"{tried.rows} rows were written back to {source}, and rolled back", "")


def _shadow(measured: Measured, gates: Gates) -> Finding:
    figures = measured.gateway
    if figures is None:
        return _judge("shadow", None, "unknown", "the gateway counts compared answers")
    compared, regressions = figures.shadow_compared, figures.shadow_regressions
    said = f"{compared} compared (at least {gates.shadow_samples}), {figures.shadow_mismatched} differ"
    if compared < gates.shadow_samples:
        make = f"`banyan load --seconds 20 --domain {measured.domain}`"
        return _judge("shadow", None, said, f"wait for more reads by clients, or make some: {make}")
    if regressions:
        more = f", and {len(regressions) - NAMED} more" if len(regressions) > NAMED else ""
        said += f"; the service is to blame for {', '.join(regressions[:NAMED])}{more}"
    return _judge("shadow", not regressions, said, f"see both answers: `banyan differences {measured.domain}`")


def _errors(measured: Measured, gates: Gates) -> Finding:
    figures = measured.gateway
    if figures is None:
        return _judge("errors", None, "unknown", "the gateway counts them")
    if figures.service_per_s < gates.requests_per_s:
        said = f"{figures.service_per_s:.1f} requests/s at the service, {gates.requests_per_s} needed to judge"
        return _judge("errors", None, said, "wait for more traffic")
    share = 100 * figures.service_errors_per_s / figures.service_per_s if figures.service_per_s else 0.0
    return _judge(
        "errors",
        share <= gates.error_percent,
        f"{share:.2f} % (at most {gates.error_percent})" if figures.service_per_s else "no requests at the service now",
        "find out why the service fails",
    )


def _sequences(measured: Measured) -> Finding:
    clash = measured.sequence_clash
    return _judge(
        "sequences", not clash, clash or "disjoint", "run `banyan prepare`, or restart the sequence in its side's range"
    )


def _pause(measured: Measured, budgets: Budgets) -> Finding:
    between = "" if (span := measured.predicted_interval_ms) is None else f"{span[0]:.0f} to {span[1]:.0f}; "
    said = f"{measured.predicted_pause_ms:.0f} ms predicted ({between}at most {budgets.pause_ms})"
    return _judge(
        "pause", measured.predicted_pause_ms <= budgets.pause_ms, said, "wait for less lag and shorter transactions"
    )
