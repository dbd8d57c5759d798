"""The journal on disk and the one in memory are one journal: whatever is done to both, both answer alike."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pi_agent.journal import Entry, follows
from pi_agent.memory import MemoryJournal
from pi_agent.model import AckState, Command, Document, Mode, Schedule, Setpoint, Slot
from pi_agent.store import Store

NOON = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
REFS = ["a", "b", "c", "slot-v1-x", "slot-v2-x"]
results = st.sampled_from([AckState.SUCCEEDED, AckState.FAILED, AckState.REJECTED])
issuers = st.sampled_from(["legacy", "v2"])


def command(ref: str, seconds: int, supersedes: str | None = None) -> Command:
    return Command(ref, Mode.CHARGE, 100, NOON, NOON + timedelta(seconds=seconds), supersedes=supersedes)


commands = st.builds(command, st.sampled_from(REFS[:3]), st.integers(-5, 50), st.none() | st.sampled_from(REFS[:3]))
several = st.lists(commands, max_size=3, unique_by=lambda c: c.ref)
schedules = st.builds(
    Schedule,
    st.integers(0, 3),
    st.sampled_from([(), (Slot(0, 60, Mode.CHARGE, 1),)]),
    st.none() | st.just((Slot(0, 9, Mode.HOLD, 0),)),
    st.none() | st.just(60.0),
)


class TwoJournals(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.disk, self.memory = Store(Path(self.folder.name) / "agent.db"), MemoryJournal()

    def teardown(self) -> None:
        self.disk.close()
        self.folder.cleanup()

    @rule(
        schedule=schedules,
        some=st.lists(commands, max_size=3, unique_by=lambda c: c.ref),
        issuer=issuers,
        whole=st.booleans(),
    )
    def receive(self, schedule: Schedule, some: list[Command], issuer: str, whole: bool) -> None:
        document = Document(schedule, tuple(some), complete=whole)
        assert self.disk.receive(document, NOON, issuer) == self.memory.receive(document, NOON, issuer)

    @rule(ref=st.sampled_from(REFS), issuer=issuers)
    def intend(self, ref: str, issuer: str) -> None:
        kind = "slot" if ref.startswith("slot") else "command"
        for journal in (self.disk, self.memory):
            journal.intend(Setpoint(Mode.CHARGE, 5, ref), kind, NOON, issuer)

    @rule(ref=st.sampled_from(REFS), state=results)
    def record(self, ref: str, state: AckState) -> None:
        before = self.disk.state_of(ref)
        for journal in (self.disk, self.memory):
            journal.record(ref, state, NOON, "note\n")
        after = self.disk.state_of(ref)
        assert after is (Entry(state.value) if follows(before, Entry(state.value)) else before)

    @rule(at=st.integers(0, 60))
    def expire(self, at: int) -> None:
        over = [c for c in self.disk.commands() if c.expires_at <= NOON + timedelta(seconds=at)]
        assert self.disk.expire(over, NOON) == self.memory.expire(over, NOON)

    @rule(limit=st.integers(1, 4), good=st.booleans())
    def deliver(self, limit: int, good: bool) -> None:
        for journal in (self.disk, self.memory):
            waiting = [p.seq for p in journal.pending(limit)]
            journal.accepted(waiting) if good else journal.refused(waiting, 2)

    @invariant()
    def alike(self) -> None:
        assert self.disk.schedule() == self.memory.schedule()
        assert {c.ref for c in self.disk.commands()} == {c.ref for c in self.memory.commands()}
        assert dict(self.disk.open_intents()) == dict(self.memory.open_intents())
        assert [self.disk.state_of(r) for r in REFS] == [self.memory.state_of(r) for r in REFS]
        disk, memory = self.disk.pending(99), self.memory.pending(99)
        assert [(p.ack, p.issuer) for p in disk] == [(p.ack, p.issuer) for p in memory]
        assert sorted(self.disk.issuers()) == sorted(self.memory.issuers())
        assert self.disk.counts() == self.memory.counts()


TestTwoJournals = TwoJournals.TestCase
TestTwoJournals.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_journal_of_an_older_agent_is_read_and_keeps_what_it_knew(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "agent.db") as old:
        old.executescript(
            "CREATE TABLE schedule (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, slots TEXT NOT NULL);"
            "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL, state TEXT NOT NULL,"
            " observed_at TEXT NOT NULL, note TEXT NOT NULL, delivery TEXT NOT NULL DEFAULT 'pending',"
            " refusals INTEGER NOT NULL DEFAULT 0, UNIQUE (ref, state));"
            "INSERT INTO schedule VALUES (1, 7, '0000-0100 C5');"
            f"INSERT INTO outbox (ref, state, observed_at, note) VALUES ('x', 'failed', '{NOON.isoformat()}', '');"
        )
    store = Store(tmp_path / "agent.db")
    assert store.schedule() == Schedule(7, (Slot(0, 60, Mode.CHARGE, 5),))
    assert [(p.ack.ref, p.issuer) for p in store.pending(9)] == [("x", "legacy")]
    store.close()


@pytest.mark.parametrize("made", ["disk", "memory"])
def test_acks_of_each_issuer_are_given_out_apart(made: str, tmp_path: Path) -> None:
    journal = Store(tmp_path / "agent.db") if made == "disk" else MemoryJournal()
    journal.receive(Document(Schedule(1)), NOON, "legacy")
    journal.receive(Document(Schedule(2)), NOON, "v2")
    assert [p.ack.ref for p in journal.pending(9, "v2")] == ["schedule-v2"]
    assert journal.issuers() == ["legacy", "v2"]
    journal.close()
