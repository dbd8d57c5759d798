"""What `banyan bench switch` makes of moves and of clients' waits."""

from __future__ import annotations

from typing import Any

import pytest

from load.bench.switch import Load, Waits, report
from load.bench.switch_rig import Move
from migration_plan.verbs import Result


def moved(held: float, pause_ms: float, verb: str = "switch", interval: tuple[float, float] = (10, 90)) -> Move:
    result = Result(
        verb, "pricing", 0, "canary 50 %", "service", True, "", pause_ms=pause_ms, attempts=1, predicted_pause_ms=40.0,
        predicted_interval_ms=interval, step_ms={"preflight": 900.0, "hold": 5.0, "publish": 7.0, "verify": 800.0},
    )  # fmt: skip
    return Move(verb, result, held, held + pause_ms / 1000)


def found(waits: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    return {
        "seconds": 10.0, "reads": 2000, "writes": 1000, "write_p50_ms": 3.0, "write_p99_ms": 40.0, "read_p99_ms": 9.0,
        "retried": 0, "stale_reads": 0, "samples": [], "checked": 99, "failed": 0, "lost": 0, "doubled": 0,
        "findings": [], "waits": waits, **more,
    }  # fmt: skip


def test_the_longest_wait_is_of_the_writes_that_were_under_way_in_the_pause() -> None:
    waits = Waits([(1.0, 400.0), (10.0, 4.0), (10.02, 60.0), (10.06, 30.0), (10.2, 900.0)])
    assert waits.longest(10.01, 10.08) == 60.0
    assert waits.longest(10.07, 10.075) == 60.0  # sent before, still waiting
    assert waits.longest(1.3, 1.35) == 400.0
    assert waits.longest(5.0, 6.0) is None


def test_pauses_are_told_as_the_switch_and_as_clients_see_them_and_held_to_their_prediction() -> None:
    moves = [moved(10.0, 40.0), moved(20.0, 95.0, "rollback"), moved(30.0, 50.0)]
    waits = [(9.5, 6.0), (10.01, 55.0), (20.0, 110.0), (29.5, 7.0), (30.02, 31.0)]
    done = report(moves, found(waits), Load(3000, 3000), 3000)
    assert done.met
    figures = done.figures
    assert (figures["switches"], figures["rollbacks"], figures["predicted_within"]) == (2, 1, "2 of 3")
    assert (figures["pause_p50_ms"], figures["pause_p99_ms"], figures["pause_max_ms"]) == (50.0, 95.0, 95.0)
    assert (figures["clients_pause_p50_ms"], figures["clients_pause_max_ms"]) == (55.0, 110.0)
    assert figures["calm_max_ms"] == 7.0
    assert figures["steps_p50_ms"] == {"hold": 5.0, "publish": 7.0, "ledger": 0.0}
    assert (figures["writes_per_s"], figures["reads_per_s"]) == (100.0, 200.0)
    assert {"Vitess MoveTables", "gh-ost", "Ghostferry", "pg_easy_replicate"} <= figures["published"].keys()
    assert done.notes == []


@pytest.mark.parametrize("what", ["failed", "lost", "doubled"])
def test_one_write_that_went_wrong_misses_the_bar(what: str) -> None:
    done = report([moved(10.0, 40.0)], found([], **{what: 1}), Load(3000, 3000), 3000)
    assert not done.met


def test_a_long_pause_misses_the_bar_and_a_small_machine_is_named() -> None:
    done = report([moved(10.0, 240.0)], found([]), Load(300, 500), 3000)
    assert not done.met
    assert done.notes[0].startswith("this machine carries 500 requests/s of the 3000 wanted")
