"""A look at the databases that hangs keeps nobody waiting, and who was away makes an error, not a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from migration_plan.context import Context
from migration_plan.errors import Unreachable
from migration_plan.gates import Finding
from migration_plan.steward import looks
from migration_plan.steward.looks import DomainLook, Seen, measurements

SEEN = Seen({}, None)


class Hanging(DomainLook):
    """As a connection to a stopped server does, until `free`; `asked` counts."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(cast("Context", None), "toys", pool)
        self.free, self.asked = threading.Event(), 0
        self.error: Exception | None = None

    def _look(self, directions: frozenset[str]) -> Seen:
        self.asked += 1
        self.free.wait(10)
        if self.error is not None:
            raise self.error
        return SEEN


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(looks, "PATIENCE_S", 0.02)
    with ThreadPoolExecutor(1) as pool:
        made = Hanging(pool)
        yield made
        made.free.set()


def seen_at_last(look: Hanging, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(looks, "PATIENCE_S", 5.0)
    return look.see(frozenset({"forward"}))


def test_a_hanging_database_is_asked_once_and_answers_late(look: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert look.see(frozenset({"forward"})) is None
        assert look.problem is not None
        assert "do not answer" in look.problem
    look.free.set()
    assert seen_at_last(look, monkeypatch) == SEEN
    assert (look.asked, look.problem) == (1, None)


@pytest.mark.parametrize("error", [Unreachable("away"), RuntimeError("a cached plan has another type")])
def test_a_database_that_is_away_is_asked_again(
    look: Hanging, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    look.error = error
    look.free.set()
    assert seen_at_last(look, monkeypatch) is None
    assert look.problem == str(error)
    look.error = None
    assert seen_at_last(look, monkeypatch) == SEEN
    assert look.asked == 2


def test_what_nobody_could_be_asked_about_is_an_error_and_a_forced_gate_is_left_out() -> None:
    findings = [Finding(name, "inconclusive", "unknown", "look") for name in ("errors", "lag", "shadow")]
    away = measurements(findings, gateway=False, databases=True, forced=frozenset({"shadow"}))
    assert away == {"errors": "error", "lag": "inconclusive"}
    assert measurements(findings, gateway=True, databases=False, forced=frozenset())["lag"] == "error"
