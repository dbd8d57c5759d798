"""`GET /v1/status` and `/metrics`: the figures as the contract and as Prometheus want them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gateway.control.figures import Figures, Totals
from gateway.control.scores import of_shadow
from gateway.control.table import Domain, RouteTable
from gateway.meter import BOUNDS, EVENTS

SIDES = ("legacy", "service")
REFUSALS = ("shed", "bulkhead_full", "client_stalled")
_STATES = ("closed", "half-open", "open")  # from good to bad
_OUTCOMES = ("aborted", "1xx", "2xx", "3xx", "4xx", "5xx")


def status(table: RouteTable, figures: Figures, workers: int) -> dict[str, Any]:
    totals, live = figures.totals(), list(figures.live())
    return {
        "version": table.version,
        "workers": workers,
        "domains": {name: _of_domain(name, domain, figures, totals, live) for name, domain in table.domains.items()},
    }


def counted(node: str, table: RouteTable, figures: Figures, workers: int) -> dict[str, Any]:
    """`GET /v1/figures`: the status, and what it is made of: plain counters that only grow while `node` lives.

    Differences over any window are exact, and bounded: a histogram for each operation and side that was ever asked.
    """
    totals = figures.totals()
    cells = [
        {"domain": d, "side": s, "operation": o, "classes": c.classes, "histogram": c.histogram, "seconds": c.seconds}
        for (d, s, o), c in sorted(totals.cells.items())
    ]
    events = [{"domain": d, "event": e, "count": n} for (d, e), n in sorted(totals.events.items())]
    return {"node": node, "bounds": BOUNDS, **status(table, figures, workers), "cells": cells, "events": events}


def _of_domain(
    name: str, domain: Domain, figures: Figures, totals: Totals, live: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "requests": {side: {**figures.rates(name, side), "total": totals.side(name, side).count} for side in SIDES},
        "fallbacks": totals.event(name, "fallback"),
        "held": totals.event(name, "held"),
        "rerouted": totals.event(name, "rerouted"),
        "shadow": of_shadow(name, domain, totals),
        "breakers": {side: breaker_state(live, name, side) for side in SIDES},
        "health": {side: is_healthy(live, domain.service if side == "service" else "legacy") for side in SIDES},
        "crowd": {side: crowd(name, domain, side, live) for side in SIDES},
        "refused": {event: totals.event(name, event) for event in REFUSALS},
    }


def breaker_state(live: Iterable[dict[str, Any]], domain: str, side: str, kind: str | None = None) -> str:
    """The worst of all workers, and of both classes when `kind` names none."""
    found = [
        b["state"]
        for w in live
        for b in w["breakers"]
        if b["domain"] == domain and b["side"] == side and kind in (None, b["class"])
    ]
    return max(found, key=_STATES.index, default="closed")


def crowd(name: str, domain: Domain, side: str, live: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of all workers. `limit`: of the upstream, by its latency; None without shedding. `servers`: [in, all]."""
    upstream = domain.service if side == "service" else "legacy"
    doors = [d for w in live for d in w["doors"] if d["domain"] == name and d["side"] == side]
    pools = [w["pools"][upstream] for w in live if upstream in w["pools"]]
    limits = [p["limit"] for p in pools if p["limit"] is not None]
    least = min(
        pools, key=lambda p: int(p["healthy"] - p["ejected"]), default={"healthy": 0, "ejected": 0, "servers": 0}
    )
    return {
        "in_flight": sum(d["in_flight"] for d in doors),
        "waiting": sum(d["waiting"] for d in doors),
        "limit": round(sum(limits), 1) if limits else None,
        "servers": [max(0, least["healthy"] - least["ejected"]), least["servers"]],
    }


def is_healthy(live: Iterable[dict[str, Any]], upstream: str) -> bool:
    return all(worker["health"].get(upstream, True) for worker in live)


class _Collector:
    def __init__(self, table: RouteTable, figures: Figures, applied: int, workers: int) -> None:
        self._table = table
        self._figures = figures
        self._workers = (applied, workers)

    def collect(self) -> Iterator[Metric]:
        totals, live = self._figures.totals(), list(self._figures.live())
        yield from _of_requests(totals)
        yield from _of_events(totals)
        yield from self._of_state(live)
        yield from _of_tls(live)
        yield from _of_spans(live)

    def _of_state(self, live: list[dict[str, Any]]) -> Iterator[Metric]:
        yield GaugeMetricFamily("banyan_gateway_table_version", "Version of the route table", self._table.version)
        applied, workers = self._workers
        yield GaugeMetricFamily("banyan_gateway_workers", "Workers that should run", workers)
        yield GaugeMetricFamily("banyan_gateway_workers_answering", "Workers that route by the newest table", applied)
        for name, text in (
            ("connections", "Client connections"),
            ("active", "Requests under way"),
            ("held_now", "Held"),
        ):
            yield GaugeMetricFamily(f"banyan_gateway_{name}", text, sum(worker[name] for worker in live))
        breakers = GaugeMetricFamily(
            "banyan_gateway_breaker", "0 closed, 1 half-open, 2 open", labels=("domain", "side", "class")
        )
        for name in self._table.domains:
            for side in SIDES:
                for kind in ("read", "write"):
                    breakers.add_metric((name, side, kind), _STATES.index(breaker_state(live, name, side, kind)))
        yield breakers
        health = GaugeMetricFamily("banyan_gateway_upstream_healthy", "Answers its health path", labels=("upstream",))
        for upstream in self._table.upstreams:
            health.add_metric((upstream,), float(is_healthy(live, upstream)))
        yield health
        yield from _of_crowds(self._table, live)


def _of_crowds(table: RouteTable, live: list[dict[str, Any]]) -> Iterator[Metric]:
    places = ("domain", "side")
    flying = GaugeMetricFamily("banyan_gateway_bulkhead_in_flight", "Requests inside a bulkhead", labels=places)
    waiting = GaugeMetricFamily("banyan_gateway_bulkhead_waiting", "Requests in its queue", labels=places)
    for name, domain in table.domains.items():
        for side in SIDES:
            found = crowd(name, domain, side, live)
            flying.add_metric((name, side), found["in_flight"])
            waiting.add_metric((name, side), found["waiting"])
    yield flying
    yield waiting
    limits = GaugeMetricFamily(
        "banyan_gateway_limit", "In flight at most, by latency, all workers", labels=("upstream",)
    )
    ejected = GaugeMetricFamily(
        "banyan_gateway_servers_ejected", "Servers left out, most of a worker", labels=("upstream",)
    )
    for name in table.upstreams:
        pools = [worker["pools"][name] for worker in live if name in worker["pools"]]
        ejected.add_metric((name,), max((pool["ejected"] for pool in pools), default=0))
        if found_limits := [pool["limit"] for pool in pools if pool["limit"] is not None]:
            limits.add_metric((name,), sum(found_limits))
    yield limits
    yield ejected


def _of_tls(live: list[dict[str, Any]]) -> Iterator[Metric]:
    """Of the listener's certificate and those shown to upstreams; workers add up, or the soonest end counts."""
    expires = GaugeMetricFamily(
        "banyan_gateway_tls_certificate_expires_seconds", "When the certificate ends (Unix time)", labels=("of",)
    )
    failures = CounterMetricFamily(
        "banyan_gateway_tls_reload_failures", "Changed files that could not be used", labels=("of",)
    )
    reloads = CounterMetricFamily("banyan_gateway_tls_reloads", "Changed files that were taken", labels=("of",))
    told = [one for worker in live for one in worker.get("tls", [])]
    for name in sorted({one["of"] for one in told}):
        mine = [one for one in told if one["of"] == name]
        if ends := [one["expires"] for one in mine if one["expires"] is not None]:
            expires.add_metric((name,), min(ends))
        failures.add_metric((name,), sum(one["failures"] for one in mine))
        reloads.add_metric((name,), sum(one["reloads"] for one in mine))
    yield from (expires, failures, reloads)


def _of_spans(live: list[dict[str, Any]]) -> Iterator[Metric]:
    """Where telemetry is on: `failed` were not taken by the collector, for `dropped` there was no room."""
    told = [spans for worker in live if (spans := worker.get("spans")) is not None]
    if told:
        spans = CounterMetricFamily("banyan_gateway_spans", "Spans of sampled requests", labels=("outcome",))
        for outcome in ("sent", "failed", "dropped"):
            spans.add_metric((outcome,), sum(one[outcome] for one in told))
        yield spans


def _of_requests(totals: Totals) -> Iterator[Metric]:
    labels = ("domain", "side", "operation")
    requests = CounterMetricFamily("banyan_gateway_requests", "Requests answered", labels=(*labels, "outcome"))
    seconds = HistogramMetricFamily("banyan_gateway_request_seconds", "Time to the end of the response", labels=labels)
    for key, cell in sorted(totals.cells.items()):
        for outcome, count in zip(_OUTCOMES, cell.classes, strict=True):
            if count:
                requests.add_metric((*key, outcome), count)
        buckets, seen = [], 0
        for bound, count in zip((*BOUNDS, float("inf")), cell.histogram, strict=True):
            seen += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(seen)))
        seconds.add_metric(key, buckets=buckets, sum_value=cell.seconds)
    yield requests
    yield seconds


def _of_events(totals: Totals) -> Iterator[Metric]:
    events = CounterMetricFamily(
        "banyan_gateway_events", "What the policies did: " + ", ".join(EVENTS), labels=("domain", "event")
    )
    for key, count in sorted(totals.events.items()):
        events.add_metric(key, count)
    yield events
    refused = CounterMetricFamily("banyan_gateway_malformed", "Requests refused by the framing", labels=("status",))
    for status_code, count in sorted(totals.refused.items()):
        refused.add_metric((status_code,), count)
    yield refused


def metrics(table: RouteTable, figures: Figures, applied: int, workers: int) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Collector(table, figures, applied, workers))
    return generate_latest(registry)
