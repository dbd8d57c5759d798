"""What follows a failed attempt, and how many retries there may be."""

from __future__ import annotations

import pytest

from gateway.policies.budget import RetryBudget
from gateway.policies.retry import Attempt, Cause, Step, next_step
from tests.unit.gateway.clock import Clock


def attempt(cause: Cause, **given: bool) -> Attempt:
    facts = {
        "is_read": False, "idempotent": False, "replayable": True, "has_fallback": False, "time_left": True,
        "fresh_tried": False,
    }  # fmt: skip
    return Attempt(cause, **(facts | given))


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (attempt(Cause.CONNECT), Step.WAIT),
        (attempt(Cause.OPEN), Step.WAIT),
        (attempt(Cause.CONNECT, time_left=False), Step.REFUSE),
        (attempt(Cause.LOST), Step.REFUSE),
        (attempt(Cause.LOST, idempotent=True), Step.WAIT),
        (attempt(Cause.STALE, idempotent=True), Step.AGAIN),
        (attempt(Cause.STALE, idempotent=True, fresh_tried=True), Step.WAIT),
        (attempt(Cause.STALE), Step.REFUSE),
        (attempt(Cause.LOST, idempotent=True, replayable=False), Step.REFUSE),
        (attempt(Cause.TIMEOUT, idempotent=True), Step.REFUSE),
        (attempt(Cause.OVERFLOW), Step.REFUSE),
        (attempt(Cause.TIMEOUT, is_read=True, idempotent=True, has_fallback=True), Step.FALLBACK),
        (attempt(Cause.CONNECT, is_read=True, idempotent=True, has_fallback=True), Step.FALLBACK),
        (attempt(Cause.CONNECT, has_fallback=True), Step.WAIT),
    ],
)
def test_what_follows_a_failure(found: Attempt, step: Step) -> None:
    assert next_step(found) is step


def test_retries_are_a_share_of_the_traffic() -> None:
    clock = Clock()
    budget = RetryBudget(ratio=0.2, floor=2, clock=clock)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(11):
        budget.deposit()
    assert [budget.take() for _ in range(3)] == [True, True, False]
    clock.now += 1
    assert budget.take()
