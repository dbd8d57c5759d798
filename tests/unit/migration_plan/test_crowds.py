"""What an operator is told of crowds and of servers that are left out."""

from __future__ import annotations

from migration_plan.crowds import crowd_problems

CALM = {"in_flight": 3, "waiting": 0, "limit": None, "servers": [2, 2]}


def test_a_calm_gateway_and_one_that_is_away_are_no_problem() -> None:
    assert list(crowd_problems({"crowd": {"legacy": CALM, "service": CALM}})) == []
    assert list(crowd_problems({})) == []


def test_a_queue_and_servers_left_out_are_told_with_their_side() -> None:
    found = list(crowd_problems({"crowd": {"legacy": CALM | {"waiting": 7}, "service": CALM | {"servers": [1, 2]}}}))
    assert found == [
        "legacy: 7 requests wait behind 3 in flight (bulkhead)",
        "service: 1 of 2 servers get requests; the rest is down, or failed too often",
    ]
