"""What is watched in a stage, and what a row of measurements comes to: Argo Rollouts' analysis, pure.

A gate passes (its success condition holds), fails (its failure condition does) or is inconclusive: neither, or there is
no data. The two conditions are apart on purpose: what is too slow to go forward is not yet bad enough to go back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from migration_plan.gates import judge
from migration_plan.gates.judge import SILENT_AFTER_MS, Finding, Verdict
from migration_plan.gates.measured import GatewayFigures, StreamFigures, Verified
from migration_plan.gates.statistics import above, binomial_tail, quantile, standardised, stratified
from migration_plan.gates.traffic import Traffic
from migration_plan.journey import Stand
from migration_plan.plan import Domain, Gates, Stage

#: A stream that has not spoken for so long does not run any more.
DEAD_AFTER_MS = 30_000

#: Failures further apart than this are not in a row, whatever was measured between them.
WITHIN_S = 10.0

#: Fewer compared answers say nothing, whatever the plan asks before a step.
LEAST_COMPARED = 100

Phase = Literal["successful", "failed", "inconclusive", "error", "running"]
#: "error": it could not be measured at all.
Measurement = Literal["pass", "fail", "inconclusive", "error"]


@dataclass(frozen=True, slots=True)
class Watched:
    """What one look at a stage found; None: it could not be had. `reads`: ids of the domain's operations that read."""

    domain: str
    streams: Mapping[str, StreamFigures]
    gateway: GatewayFigures | None
    traffic: Traffic | None
    latest: Traffic | None  # of the newest look only
    verified: Verified | None
    reads: Sequence[str]


def analyse(watched: Watched, plan: Domain, stand: Stand) -> list[Finding]:
    """Each gate of the stage that `stand` is in."""
    domain, carrying = watched.domain, "reverse" if stand.owner == "service" else "forward"
    stream, gates = watched.streams.get(carrying), plan.gates
    found = [
        _health(watched),
        _stream(domain, carrying, stream),
        _lag(domain, carrying, stream, gates),
        _slot(domain, carrying, stream, gates.retained_mb or plan.streams.slot_keep_mb // 2),
        _parked(watched, carrying),
        _drift(watched),
    ]
    if stand.phase in ("shadow", "canary"):
        found.append(_shadow(watched, gates))
    if stand.phase in ("canary", "service"):
        found += [_errors(watched, gates), _breaker(watched)]
    if stand.phase == "canary":
        found += latency(watched.traffic, watched.reads, gates)
    return found


def assess(measured: Sequence[tuple[float, Measurement]], stage: Stage) -> Phase:
    """What one gate's measurements (when, what), oldest first, come to.

    As Argo Rollouts: more failures than `failure_limit` fail it, whatever else was measured; then more inconclusive
    ones than `inconclusive_limit` make it inconclusive, then more errors in a row than `error_limit` an error. Other
    than there, a success ends a row: a stage may last for weeks, and Argo's analysis ends.
    """
    if not measured:
        return "running"
    now, newest = measured[-1]
    failures = inconclusive = errors = 0
    unbroken = True
    for at, what in reversed(measured):
        if what == "pass":
            break
        failures += what == "fail" and now - at <= WITHIN_S
        inconclusive += what == "inconclusive"
        unbroken = unbroken and what == "error"
        errors += unbroken
    if newest == "fail" and failures > stage.failure_limit:
        return "failed"
    if inconclusive > stage.inconclusive_limit:
        return "inconclusive"
    if errors > stage.error_limit:
        return "error"
    return "successful" if newest == "pass" else "running"


def latency(traffic: Traffic | None, reads: Sequence[str], gates: Gates) -> list[Finding]:
    """The service's reads beside legacy's of the same operations in the same window, never beside yesterday's.

    `latency`: the distribution as a whole, by ranks (as Kayenta's judge), within operations; significant and too great.
    `p95`, `p99`: the ratio to legacy's own, as if legacy had been asked for what the service was; significant when more
    requests are above the allowed quantile than chance would put there.
    """
    names, help_ = ("latency", "p95", "p99"), "find out why the service is slower than the monolith"
    strata = traffic.pairs(reads) if traffic is not None else []
    pooled = standardised(strata)
    few = "no reads that both sides answered in the window"
    if traffic is not None and pooled is not None:
        asked = sum(sum(a) for a, _ in strata), sum(sum(b) for _, b in strata)
        few = f"{asked[0]} reads at the service and {asked[1]} at legacy, {gates.latency_samples} of each needed"
        if min(asked) >= gates.latency_samples:
            return [
                _ranks(strata, pooled, traffic.bounds, gates, help_),
                _tail("p95", 0.95, gates.p95_ratio, pooled, traffic.bounds, gates, help_),
                _tail("p99", 0.99, gates.p99_ratio, pooled, traffic.bounds, gates, help_),
            ]
    return [_found(name, None, few, "wait for more traffic") for name in names]


def _ranks(
    strata: Sequence[tuple[Sequence[int], Sequence[int]]],
    pooled: tuple[Sequence[float], Sequence[float]],
    bounds: Sequence[float],
    gates: Gates,
    help_: str,
) -> Finding:
    test = stratified(strata)
    mine, theirs = (quantile(one, bounds, 0.5) or 0.0 for one in pooled)
    if test is None:  # all in one bucket
        return _found("latency", True, f"p50 {_ms(mine)}, legacy {_ms(theirs)}", help_)
    significant = test.p_greater < (1 - gates.latency_confidence) / 2
    great = mine > theirs * gates.p50_ratio and (mine - theirs) * 1000 > gates.latency_floor_ms
    said = (
        f"p50 {_ms(mine)}, legacy {_ms(theirs)} (at most {gates.p50_ratio} ×); slower with probability"
        f" {test.effect:.2f}, p {test.p_greater:.2g}"
    )
    return _found("latency", _three(not great or not significant, great and significant), said, help_)


def _tail(
    name: str,
    share: float,
    ratio: float,
    pooled: tuple[Sequence[float], Sequence[float]],
    bounds: Sequence[float],
    gates: Gates,
    help_: str,
) -> Finding:
    mine, theirs = (quantile(one, bounds, share) or 0.0 for one in pooled)
    allowed = max(theirs * ratio, theirs + gates.latency_floor_ms / 1000)
    requests = round(sum(pooled[0]))
    beyond = int(above(pooled[0], bounds, allowed))
    chance = binomial_tail(beyond, requests, 1 - share)
    said = f"{_ms(mine)}, legacy {_ms(theirs)} (at most {ratio} ×, or {gates.latency_floor_ms:.0f} ms more)"
    great = mine > allowed
    return _found(name, _three(not great, great and chance < (1 - gates.latency_confidence) / 2), said, help_)


def _errors(watched: Watched, gates: Gates) -> Finding:
    """A read that the service failed, or was not asked for because of its breaker, and that legacy answered, is a
    failure of the service that no client saw. What legacy fails at the same time is allowed to the service too. Windows
    overlap, so a failure counts only while it goes on: one that is over would be counted again in each of them.
    """
    help_ = "find out why the service fails: `banyan logs`"
    if watched.traffic is None or watched.latest is None:
        return _found("errors", None, "nothing was measured yet", help_)
    total, bad = _failures(watched.traffic)
    if not total:
        return _found("errors", None, "no requests at the service", "wait for more traffic")
    asked_there, failed_there = watched.traffic.side("legacy")
    usual = 100 * failed_there / asked_there if asked_there else 0.0
    allowed = min(gates.error_percent + usual, 100.0)
    share = 100 * bad / total
    said = f"{bad} of {total} requests failed at the service, {share:.2f} % (at most {allowed:.4g})"
    passes = share <= allowed
    # One failure of one request is 100 %, and says nothing.
    enough = bad >= gates.error_least and binomial_tail(bad, total, allowed / 100) < (1 - gates.latency_confidence) / 2
    lasts = _failures(watched.latest)[1] > 0
    return _found("errors", _three(passes, not passes and enough and lasts), said, help_)


def _failures(traffic: Traffic) -> tuple[int, int]:
    """(requests, failures) of the service."""
    asked, failed = traffic.side("service")
    return asked + traffic.fallbacks, failed + traffic.fallbacks


def _breaker(watched: Watched) -> Finding:
    state = watched.gateway.breakers.get("service") if watched.gateway else None
    said = f"service's breaker is {state or 'unknown'}"
    return _found("breaker", _three(state == "closed", state == "open"), said, "find out why calls of service fail")


def _health(watched: Watched) -> Finding:
    healthy = watched.gateway.healthy.get("service") if watched.gateway else None
    said = {True: "service is healthy", False: "service is not healthy", None: "nothing is known of service"}[healthy]
    return _found("health", healthy, said, "see `banyan logs`; service must answer its health check")


def _stream(domain: str, direction: str, figures: StreamFigures | None) -> Finding:
    gate, log = f"{direction}-stream", f"see `banyan logs cdc-{domain}-{direction}`"
    if figures is None:
        return _found(gate, None, "nothing is known of it", log)
    if (stuck := judge.stuck(domain, direction, figures)) is not None:
        return stuck
    if figures.state != "streaming" or figures.silent_ms is None:
        return _found(gate, None, f"it is at {figures.state}", log)
    said = f"last heard of {figures.silent_ms / 1000:.1f} s ago"
    return _found(gate, _three(figures.silent_ms <= SILENT_AFTER_MS, figures.silent_ms > DEAD_AFTER_MS), said, log)


def _lag(domain: str, direction: str, figures: StreamFigures | None, gates: Gates) -> Finding:
    lag = figures.lag_ms if figures else None
    if lag is None:
        return _found("lag", None, "unknown", f"wait until cdc-{domain}-{direction} is up")
    said = f"{lag:.0f} ms (good up to {gates.max_lag_ms}, bad above {gates.breach_lag_ms})"
    help_ = f"see `banyan logs cdc-{domain}-{direction}`: its target is slow, or it is"
    return _found("lag", _three(lag <= gates.max_lag_ms, lag > gates.breach_lag_ms), said, help_)


def _slot(domain: str, direction: str, figures: StreamFigures | None, most_mb: int) -> Finding:
    help_ = f"a stream that stands lets WAL grow: `banyan status`, `banyan logs cdc-{domain}-{direction}`"
    if figures is None or figures.retained_bytes is None:
        return _found("slot", None, "nothing is known of it", help_)
    kept = figures.retained_bytes / 2**20
    said = f"{figures.slot}, keeps {kept:.0f} MiB (at most {most_mb})"
    bad = figures.slot in ("unreserved", "lost") or kept > most_mb
    return _found("slot", not bad, said, help_)


def _parked(watched: Watched, direction: str) -> Finding:
    stream = watched.streams.get(direction)
    help_ = f"`python -m cdc parked list --stream {watched.domain}.{direction}`"
    if stream is None:
        return _found("parked", None, "unknown", help_)
    return _found("parked", not stream.parked, f"{stream.parked} parked keys", help_)


def _drift(watched: Watched) -> Finding:
    verified, again = watched.verified, f"`banyan verify {watched.domain}`"
    if verified is None or verified.refilled:
        return _found("verify", None, "not compared yet", again)
    if verified.drift:
        return _found("verify", False, f"{verified.drift} rows differ, {verified.age_s:.0f} s ago", again)
    return _found("verify", True if verified.clean else None, f"compared {verified.age_s:.0f} s ago", again)


def _shadow(watched: Watched, gates: Gates) -> Finding:
    figures, look = watched.gateway, f"see both answers: `banyan differences {watched.domain}`"
    if figures is None:
        return _found("shadow", None, "unknown", look)
    compared, wrong = figures.shadow_compared, figures.shadow_regressions
    said = f"{compared} compared, {figures.shadow_mismatched} differ"
    if wrong:
        said += f"; the service is to blame for {', '.join(wrong[: judge.NAMED])}"
    enough = compared >= max(gates.shadow_samples, LEAST_COMPARED)
    # One answer of thousands keeps a step from being taken; to take one back it needs as many as may fail.
    often = compared > 0 and 100 * figures.shadow_mismatched / compared > gates.error_percent
    return _found("shadow", _three(enough and not wrong, enough and bool(wrong) and often), said, look)


def _three(passes: bool, fails: bool) -> bool | None:
    return True if passes else False if fails else None


def _found(gate: str, ok: bool | None, measured: str, help_: str) -> Finding:
    verdict: Verdict = "inconclusive" if ok is None else "pass" if ok else "fail"
    return Finding(gate, verdict, measured, help_)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
