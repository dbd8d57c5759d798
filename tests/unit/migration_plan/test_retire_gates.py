"""What lets a domain leave for good, and how a half-done step is recognised."""

from __future__ import annotations

from datetime import UTC, datetime

from migration_plan.gates.retire import readers, served
from migration_plan.graph import Edge
from migration_plan.journey import LEGACY, SHADOW, Move
from migration_plan.ledger import Entry, Row
from migration_plan.verbs.abort import half_done

DAY = 86_400
READS = Edge("billing", "toys", "query", "public.toy", False, ["app/bills.py:7"])
WRITES = Edge("cron", "toys", "query", "public.toy", True, ["app/cron.py:3"])
FEEDS = Edge("toys", "billing", "trigger", "public.toy_daily", True, ["trigger t on public.toy"])


def test_a_domain_stays_at_its_service_for_as_long_as_the_plan_says() -> None:
    assert served("toys", None, DAY).verdict == "fail"
    assert str(served("toys", 60, DAY)).startswith("served: 60 s at its service (at least 1.0 days); wait")
    assert served("toys", DAY, DAY).verdict == "pass"
    assert served("toys", 0, 0).verdict == "pass"


def test_without_readers_it_passes_only_if_the_code_was_read() -> None:
    assert readers("toys", [], code_read=True, accepted=False).verdict == "pass"
    assert readers("toys", [], code_read=False, accepted=False).verdict == "inconclusive"
    assert readers("toys", [], code_read=False, accepted=True).verdict == "pass"


def test_readers_are_named_with_the_place_and_may_be_accepted() -> None:
    refused = readers("toys", [READS] * 6, code_read=True, accepted=False)
    assert refused.verdict == "fail"
    assert "billing (query public.toy: app/bills.py:7)" in refused.measured
    assert refused.measured.endswith("and 2 more")
    assert readers("toys", [READS, FEEDS], code_read=True, accepted=True).verdict == "pass"


def test_who_writes_cannot_be_accepted() -> None:
    found = readers("toys", [READS, WRITES], code_read=True, accepted=True)
    assert found.verdict == "fail"
    assert "still writes it: cron" in found.measured


def row(number: int, step: str, before: str | None = "legacy", after: str | None = "shadow", wave: int = 0) -> Row:
    verb = step.partition(".")[0]
    entry = Entry("toys", verb, step, "r", "ann", wave=wave, before=before, after=after)
    return Row(number, datetime(2026, 1, 1, tzinfo=UTC), entry, "", "")


def test_a_step_of_reads_that_began_and_did_not_end_is_half_done() -> None:
    assert half_done([row(1, "shadow.begin")], 0) == Move(LEGACY, SHADOW)
    assert half_done([row(1, "shadow.begin"), row(2, "verify.done", None, None)], 0) == Move(LEGACY, SHADOW)
    assert half_done([row(1, "shadow.begin"), row(2, "shadow.done")], 0) is None
    assert half_done([row(1, "shadow.begin", wave=1)], 0) is None
    assert half_done([], 0) is None


def test_what_goes_back_and_broke_off_is_not_taken_forward() -> None:
    assert half_done([row(1, "rollback.begin", "canary 10 %", "shadow")], 0) is None
    assert half_done([row(1, "shadow.begin"), row(2, "abort.begin", "shadow", "legacy")], 0) is None


def test_a_switch_is_not_judged_by_the_ledger_and_a_completion_never_goes_back() -> None:
    assert half_done([row(1, "switch.begin", "canary 50 %", "service")], 0) is None
    assert half_done([row(1, "complete.begin", "service", "retired")], 0) is None
