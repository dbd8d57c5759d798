"""What is watched in a stage, and what a row of measurements comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meter import BOUNDS
from migration_plan.gates.analysis import Measurement, Watched, analyse, assess
from migration_plan.gates.measured import GatewayFigures, StreamFigures, Verified
from migration_plan.gates.traffic import Cell, Recent, Traffic
from migration_plan.journey import SERVICE, SHADOW, Stand
from migration_plan.plan import Domain, Operation, Stage

PLAN = Domain("toys", "new", "toys.yaml", (Operation("toys.list", "GET", "/toys", "read"),))
STAGE = Stage("rollback", failure_limit=2, inconclusive_limit=3, error_limit=4)
CANARY = Stand("canary", 10)
STREAM = StreamFigures("streaming", "reserved", True, 12.0, 400.0, 0, retained_bytes=2**20)
GATEWAY = GatewayFigures(
    {"legacy": True, "service": True}, {"legacy": "closed", "service": "closed"}, 50, 0, 1000, 0, 1
)
change = dataclasses.replace


def cell(at_ms: dict[float, int], errors: int = 0) -> Cell:
    """So many requests that took so long."""
    counts = [0] * (len(BOUNDS) + 1)
    for ms, count in at_ms.items():
        counts[next(i for i, bound in enumerate(BOUNDS) if ms / 1000 <= bound)] += count
    return Cell(sum(counts), errors, tuple(counts))


def traffic(service: Cell, legacy: Cell, fallbacks: int = 0) -> Traffic:
    return Traffic(BOUNDS, {("toys.list", "service"): service, ("toys.list", "legacy"): legacy}, fallbacks)


USUAL = traffic(cell({5: 380, 30: 20}), cell({5: 950, 30: 50}))
WELL = Watched(
    "toys", {"forward": STREAM, "reverse": STREAM}, GATEWAY, USUAL, USUAL, Verified(True, 0, 60), ["toys.list"]
)


def within(window: Traffic, latest: Traffic | None = None) -> Watched:
    """It goes on as it was, unless said otherwise."""
    return change(WELL, traffic=window, latest=latest or window)


def verdicts(watched: Watched, stand: Stand = CANARY, plan: Domain = PLAN) -> dict[str, str]:
    """Gates that did not pass."""
    return {f.gate: f.verdict for f in analyse(watched, plan, stand) if f.verdict != "pass"}


@pytest.mark.parametrize("stand", [SHADOW, CANARY, SERVICE])
def test_a_healthy_stage_passes_all_its_gates(stand: Stand) -> None:
    assert verdicts(WELL, stand) == {}


@pytest.mark.parametrize("stand", [SHADOW, CANARY, SERVICE])
def test_no_data_is_inconclusive_never_a_pass_and_never_a_failure(stand: Stand) -> None:
    nothing = Watched("toys", {}, None, None, None, None, ["toys.list"])
    found = analyse(nothing, PLAN, stand)
    assert {finding.verdict for finding in found} == {"inconclusive"}
    assert len(found) == {"shadow": 7, "canary": 12, "service": 8}[stand.phase]


@pytest.mark.parametrize(
    ("watched", "expected"),
    [
        (within(traffic(cell({5: 400}, errors=100), cell({5: 900}))), {"errors": "fail"}),
        # Reads that legacy answered for the service are its failures too, though no client saw one.
        (within(traffic(cell({5: 300}), cell({5: 900}), fallbacks=200)), {"errors": "fail"}),
        # It is over: the window still holds it, and would hold it in the next looks too.
        (within(traffic(cell({5: 400}, errors=100), cell({5: 900})), latest=USUAL), {"errors": "inconclusive"}),
        # One failure of one request is 100 %, and says nothing.
        (
            within(traffic(cell({5: 1}, errors=1), cell({5: 900}))),
            {"errors": "inconclusive", "latency": "inconclusive", "p95": "inconclusive", "p99": "inconclusive"},
        ),
        # What legacy fails at the same time is nothing that the service does wrong.
        (within(traffic(cell({5: 400}, errors=40), cell({5: 900}, errors=90))), {}),
        (
            within(traffic(cell({300: 400}), cell({5: 900}))),
            {"latency": "fail", "p95": "fail", "p99": "fail"},
        ),
        # A tail alone: 6 % above the allowed p95, where 5 % may be, is chance; above the allowed p99 it is not.
        (
            within(traffic(cell({5: 376, 900: 24}), cell({5: 1000}))),
            {"p95": "inconclusive", "p99": "fail"},
        ),
        # Three times as slow, by two milliseconds: significant, and nothing that anybody notices.
        (within(traffic(cell({3: 4000}), cell({1: 9000}))), {}),
        # Both are slow together: the same-time baseline says that it is not the service.
        (within(traffic(cell({900: 400}), cell({900: 900}))), {}),
        (change(WELL, gateway=change(GATEWAY, breakers={"service": "open"})), {"breaker": "fail"}),
        (change(WELL, gateway=change(GATEWAY, breakers={"service": "half-open"})), {"breaker": "inconclusive"}),
        (change(WELL, gateway=change(GATEWAY, healthy={"service": False})), {"health": "fail"}),
        (
            change(WELL, gateway=change(GATEWAY, shadow_mismatched=30, shadow_regressions=("$.price",))),
            {"shadow": "fail"},
        ),
        (
            change(WELL, gateway=change(GATEWAY, shadow_mismatched=3, shadow_regressions=("$.price",))),
            {"shadow": "inconclusive"},
        ),
        (change(WELL, gateway=change(GATEWAY, shadow_compared=9)), {"shadow": "inconclusive"}),
        (change(WELL, verified=Verified(False, 3, 10)), {"verify": "fail"}),
        (change(WELL, verified=Verified(False, 3, 10, refilled=True)), {"verify": "inconclusive"}),
        (change(WELL, streams={"forward": change(STREAM, lag_ms=5_000)}), {"lag": "inconclusive"}),
        (change(WELL, streams={"forward": change(STREAM, lag_ms=15_000)}), {"lag": "fail"}),
        (change(WELL, streams={"forward": change(STREAM, parked=1)}), {"parked": "fail"}),
        (change(WELL, streams={"forward": change(STREAM, silent_ms=9_000)}), {"forward-stream": "inconclusive"}),
        (change(WELL, streams={"forward": change(STREAM, silent_ms=60_000)}), {"forward-stream": "fail"}),
        (change(WELL, streams={"forward": change(STREAM, slot="lost")}), {"forward-stream": "fail", "slot": "fail"}),
        (change(WELL, streams={"forward": change(STREAM, retained_bytes=3 * 2**30)}), {"slot": "fail"}),
    ],
)
def test_each_gate_says_what_is_wrong_in_a_canary(watched: Watched, expected: dict[str, str]) -> None:
    assert verdicts(watched) == expected


def test_after_the_switch_the_reverse_stream_counts_and_nothing_is_compared_with_legacy() -> None:
    broken = change(WELL, streams={"forward": change(STREAM, slot="lost"), "reverse": change(STREAM, parked=2)})
    assert verdicts(broken, SERVICE) == {"parked": "fail"}
    assert not {"latency", "p99", "shadow"} & {finding.gate for finding in analyse(WELL, PLAN, SERVICE)}


MEASURED = st.sampled_from(["pass", "fail", "inconclusive", "error"])


def row(*measured: Measurement, every: float = 2.0) -> list[tuple[float, Measurement]]:
    return [(every * number, what) for number, what in enumerate(measured)]


@pytest.mark.parametrize(
    ("measured", "phase"),
    [
        ([], "running"),
        (["pass"], "successful"),
        (["fail", "fail"], "running"),
        (["fail", "fail", "fail"], "failed"),
        (["fail", "fail", "pass", "fail"], "running"),
        (["fail", "inconclusive", "fail", "error", "fail"], "failed"),  # more than the limit, whatever is between
        (["fail", "fail", "fail", "inconclusive"], "running"),  # the newest is no failure
        (["inconclusive"] * 3, "running"),
        (["inconclusive"] * 4, "inconclusive"),
        (["error"] * 4, "running"),
        (["error"] * 5, "error"),
        (["error"] * 4 + ["inconclusive", "error"], "running"),  # errors count in a row only
    ],
)
def test_measurements_come_to_what_argo_rollouts_makes_of_them(measured: list[Measurement], phase: str) -> None:
    assert assess(row(*measured), STAGE) == phase


def test_failures_far_apart_are_not_in_a_row() -> None:
    assert assess(row("fail", "fail", "fail", every=60), STAGE) == "running"


@given(st.lists(MEASURED, max_size=30))
def test_without_enough_failures_nothing_ever_fails(measured: Sequence[Measurement]) -> None:
    if assess(row(*measured), STAGE) == "failed":
        assert measured[-1] == "fail"
        assert list(measured[-6:]).count("fail") > STAGE.failure_limit


def test_the_window_holds_what_grew_and_a_node_that_began_anew_counts_from_there() -> None:
    recent = Recent(window_s=10)
    first = traffic(cell({5: 10}), cell({5: 100}))
    recent.take(0, "a", first)
    assert recent.window(0) is None
    recent.take(2, "a", traffic(cell({5: 30}, errors=2), cell({5: 200}), fallbacks=3))
    grown = recent.window(2)
    assert grown is not None
    assert (grown.side("service"), grown.side("legacy"), grown.fallbacks) == ((20, 2), (100, 0), 3)
    assert recent.latest(2) == grown
    recent.take(4, "b", first)  # another node behind the same address: its counters are its own
    recent.take(6, "b", traffic(cell({5: 11}), cell({5: 100})))
    both = recent.window(6)
    assert both is not None
    assert both.side("service") == (21, 2)
    recent.take(8, "a", traffic(cell({5: 1}), cell({5: 1})))
    fell = recent.window(8)
    assert fell is not None
    assert fell.side("service") == (1, 0)
    recent.forget()
    assert recent.window(8) is None


def test_the_window_is_not_longer_than_it_says() -> None:
    recent = Recent(window_s=10)
    for second in range(0, 100, 2):
        recent.take(second, "a", traffic(cell({5: second}), cell({5: 0})))
    grown = recent.window(98)
    assert grown is not None
    assert grown.side("service")[0] == 10
