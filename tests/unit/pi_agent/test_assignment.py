"""Which backend commands a battery: every order of flags, checks, failures, restarts and time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pi_agent.assignment import Assignment, Check, Rules, Trial, from_disk, to_disk
from pi_agent.backoff import Backoff
from pi_agent.flags import LEGACY, V2

RULES = Rules(trial_s=60, successes=2, max_errors=3, retreat=Backoff(10, 1000))


def highest(low: float, high: float) -> float:
    return high


def passed(now: Assignment, *checks: Check, at: float = 1) -> Assignment:
    for check in checks:
        now = RULES.passed(now, check, at, highest)
    return now


def on_trial() -> Assignment:
    return RULES.begin(RULES.wish(Assignment(), V2), 0)


class Life(RuleBasedStateMachine):
    """One agent under a flag that changes, a candidate that passes or fails, restarts, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.at, self.disk = Assignment(), 1000.0, json.dumps(to_disk(Assignment()))
        self.commits = self.rounds = 0

    def take(self, after: Assignment) -> None:
        before, self.now = self.now, after
        self.disk = json.dumps(to_disk(after))
        assert after.epoch >= before.epoch
        if after.primary == V2 and before.primary != V2:
            assert before.trial is not None, "nobody takes over without a trial"
            assert before.trial.rounds == RULES.successes - 1
            assert before.trial.check is Check.ACK
            assert self.at < before.trial.deadline
            assert self.rounds == RULES.successes

    @rule(flag=st.sampled_from([LEGACY, V2]))
    def flag(self, flag: str) -> None:
        self.take(RULES.wish(self.now, flag))
        if flag == LEGACY:
            assert (self.now.primary, self.now.trial) == (LEGACY, None), "back at once"

    @rule()
    def begin(self) -> None:
        was = self.now.trial
        self.take(RULES.begin(self.now, self.at))
        if self.now.trial is not None and was is None:
            self.rounds = 0

    @precondition(lambda self: self.now.trial is not None)
    @rule(right=st.booleans(), other=st.sampled_from(Check))
    def check(self, right: bool, other: Check) -> None:
        trial = self.now.trial
        assert trial is not None
        check = trial.check if right else other
        if check is Check.ACK and check is trial.check:
            self.rounds += 1
        self.take(RULES.passed(self.now, check, self.at, highest))

    @rule()
    def late_check_of_a_trial_that_is_over(self) -> None:
        if self.now.trial is None:
            assert RULES.passed(self.now, Check.ACK, self.at, highest) == self.now
            assert RULES.failed(self.now, "late", self.at, highest) == self.now

    @rule()
    def fail(self) -> None:
        primary = self.now.primary
        self.take(RULES.failed(self.now, "no answer", self.at, highest))
        assert self.now.primary == primary

    @rule(backend=st.sampled_from([LEGACY, V2]), well=st.booleans())
    def talk(self, backend: str, well: bool) -> None:
        if well:
            self.take(RULES.primary_succeeded(self.now, backend))
        else:
            self.take(RULES.primary_failed(self.now, backend, "answered 500", self.at, highest))

    @rule(epoch=st.none() | st.integers(0, 9))
    def see(self, epoch: int | None) -> None:
        self.take(RULES.seen(self.now, epoch))
        assert epoch is None or self.now.epoch >= epoch

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.take(RULES.overdue(self.now, self.at, highest))
        assert self.now.trial is None or self.at < self.now.trial.deadline, "no trial outlives its time"

    @rule(boot=st.floats(0, 10))
    def restart(self, boot: float) -> None:
        before = self.now
        self.at = boot
        self.now = Assignment(epoch=before.epoch)  # memory is gone
        after = from_disk(json.loads(self.disk), RULES, boot, highest)
        self.now = after
        assert after.primary == before.primary
        assert (after.wanted, after.epoch, after.trial) == (before.wanted, before.epoch, None)
        if before.trial is not None:
            assert after.reason == "the agent was restarted during the trial"
            assert not RULES.due(after, boot)
        self.disk = json.dumps(to_disk(after))

    @invariant()
    def one_commander(self) -> None:
        obeyed = [b for b in (LEGACY, V2) if self.now.obeys(b, self.now.epoch)]
        assert obeyed == [self.now.primary]
        assert not self.now.obeys(self.now.primary, self.now.epoch - 1)
        assert self.now.wanted == V2 or (self.now.primary, self.now.trial) == (LEGACY, None)
        assert self.now.trial is None or self.now.primary == LEGACY, "while a trial runs the old one is in charge"


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_candidate_takes_over_when_it_has_shown_all_often_enough() -> None:
    now = passed(on_trial(), *Check)
    assert (now.primary, now.phase) == (LEGACY, "trial")
    now = passed(now, *Check)
    assert (now.primary, now.phase, now.trial) == (V2, "v2", None)


def test_a_check_out_of_order_fails_the_trial() -> None:
    now = passed(on_trial(), Check.HANDSHAKE, Check.SCHEDULE)
    assert (now.primary, now.phase, now.reason) == (LEGACY, "reverted", "schedule out of order")


@pytest.mark.parametrize("at", [60.0, 61.0])
def test_a_check_after_the_deadline_commits_nothing(at: float) -> None:
    almost = replace(on_trial(), trial=Trial(V2, 60, passed=3, rounds=1))
    assert passed(almost, Check.ACK, at=59.9).primary == V2
    assert passed(almost, Check.ACK, at=at).phase == "reverted"


def test_after_a_failed_trial_the_next_waits_longer_each_time() -> None:
    now, at, waits = on_trial(), 0.0, []
    for _ in range(6):
        now = RULES.failed(now, "no", at, highest)
        assert now.retry_at is not None
        waits.append(now.retry_at - at)
        at = now.retry_at
        now = RULES.begin(now, at)
        assert now.trial is not None
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] <= 10 + 1000


def test_v2_is_given_up_after_errors_in_a_row_and_has_to_pass_another_trial() -> None:
    now = passed(passed(on_trial(), *Check), *Check)
    for _ in range(2):
        now = RULES.primary_failed(now, V2, "answered 500", 5, highest)
    assert now.primary == V2
    assert RULES.primary_succeeded(now, V2).errors == 0
    now = RULES.primary_failed(now, V2, "answered 500", 5, highest)
    assert (now.primary, now.phase, now.reason) == (LEGACY, "reverted", "answered 500")
    assert not RULES.due(now, 5)
    assert now.retry_at is not None
    assert RULES.due(now, now.retry_at)


def test_errors_of_legacy_change_nothing() -> None:
    now = RULES.wish(Assignment(), V2)
    assert RULES.primary_failed(now, LEGACY, "no answer", 0, highest) == now


@pytest.mark.parametrize("saved", [None, 3, {}, {"primary": "v3", "wanted": "v2"}, {"primary": "v2"}])
def test_what_cannot_be_read_is_legacy(saved: object) -> None:
    assert from_disk(saved, RULES, 0, highest) == Assignment()


def test_a_disk_that_says_v2_though_the_flag_was_legacy_is_legacy() -> None:
    assert from_disk({"primary": "v2", "wanted": "legacy"}, RULES, 0, highest).primary == LEGACY
