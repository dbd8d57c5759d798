"""What went wrong in other tools' cutovers (Vitess issues by number), tried on ours with everything real."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from migration_plan import verbs
from migration_plan.errors import Aborted, PlanError, Refused
from migration_plan.journey import Stand
from tests.integration.migration_plan.toy import INSERT, Toys, until, writing

pytestmark = pytest.mark.long  # long transactions and half switches, each on a fresh toy stack

AT_50 = Stand("canary", 50)
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND relation = %s::regclass"


def switch(toys: Toys, **more: object) -> verbs.Result:
    with toys.context() as context:
        return verbs.switch(context, toys.domain, **more)  # type: ignore[arg-type]


def rollback(toys: Toys, **more: object) -> verbs.Result:
    with toys.context() as context:
        return verbs.rollback(context, toys.domain, **more)  # type: ignore[arg-type]


def streams(toys: Toys) -> list[tuple[str, ...]]:
    """Slots and stream rows of both directions: what a way back is made of."""
    found = []
    for dsn in (toys.legacy, toys.service):
        with psycopg.connect(dsn) as connection:
            found += connection.execute("SELECT stream FROM banyan.stream ORDER BY 1").fetchall()
            slots = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"
            found += connection.execute(slots).fetchall()
    return found


@contextmanager
def open_write(toys: Toys, side: str, name: str) -> Iterator[psycopg.Connection]:
    """A transaction that has written and has not ended."""
    with psycopg.connect(toys.dsn(side)) as busy:
        busy.execute(INSERT[side], [name])
        yield busy


def test_vitess_16563_the_position_is_taken_after_the_writers_are_out(toys: Toys) -> None:
    """Positions gathered before the last writer was out: what it wrote was never waited for, and lost."""
    toys.put_stand(AT_50)
    straggler = psycopg.connect(toys.legacy)
    committed: list[int] = []

    def commit_when_the_fence_waits() -> None:
        with psycopg.connect(toys.legacy, autocommit=True) as look:
            until(lambda: look.execute(WAITING, ["toy"]).fetchone() != (0,), "the fence to wait for its locks")
            straggler.commit()
            committed.append(1)

    def write_late(step: str, when: str) -> None:
        if (step, when) == ("fence", "before"):
            straggler.execute(INSERT["legacy"], ["the straggler"])
            threading.Thread(target=commit_when_the_fence_waits, daemon=True).start()

    assert switch(toys, hook=write_late).owner == "service"
    assert committed, "the fence waited for it"
    assert "the straggler" in toys.names("service"), "it is there at the moment in which the service takes over"
    straggler.close()


def test_vitess_9400_and_13999_a_long_transaction_ends_the_switch_and_leaves_nothing_that_breaks_the_next(
    toys: Toys,
) -> None:
    """Switched in the middle of a long transaction, the way back broke; and what had denied the writes stayed."""
    toys.put_stand(AT_50)
    before = (toys.ownership(), streams(toys))
    with open_write(toys, "legacy", "takes its time") as busy, writing(toys, clients=2) as seen:
        with pytest.raises(Aborted, match="a long transaction holds the tables at legacy"):
            switch(toys, forced=["open-transactions", "pause"])
        assert (toys.ownership(), streams(toys)) == before
        with toys.context() as context:
            [wave] = context.admin().table().domains[toys.domain].waves
        assert (wave.owner, wave.hold, wave.phase) == ("legacy", False, "canary")
        # Nobody is denied anything, though the transaction is still there.
        so_far = len(seen.accepted)
        until(lambda: len(seen.accepted) > so_far + 20 or seen.failed, "writes at legacy")
        busy.commit()
        assert switch(toys).owner == "service"
        # The same the other way round, where a failed way back deleted what a second attempt needs (14276).
        with open_write(toys, "service", "takes its time too") as busy_there:
            with pytest.raises(Aborted, match="a long transaction holds the tables at service"):
                rollback(toys, forced=["open-transactions", "pause"])
            assert streams(toys) == before[1]
            busy_there.commit()
        assert rollback(toys).owner == "legacy"
        so_far = len(seen.accepted)
        until(lambda: len(seen.accepted) > so_far + 20 or seen.failed, "writes at legacy again")
    assert seen.failed == []
    toys.equal()
    assert {*seen.accepted, "takes its time", "takes its time too"} == set(toys.names("legacy"))


def test_vitess_14276_a_way_back_that_breaks_off_can_be_taken_again(toys: Toys) -> None:
    """The cleanup after a failed ReverseTraffic deleted the workflow, and with it the only way back."""
    toys.put_stand(AT_50)
    switch(toys)
    before = streams(toys)

    def cut(step: str, when: str) -> None:
        if (step, when) == ("hold", "before"):
            toys.stop_stream("reverse")

    with pytest.raises(Aborted, match="service accepts the writes again"):
        rollback(toys, hook=cut)
    assert streams(toys) == before
    assert {owner for owner, _ in toys.ownership().values()} == {"service"}
    toys.start_stream("reverse")
    assert rollback(toys).owner == "legacy"


def test_vitess_20924_16918_and_8142_writes_move_neither_before_the_reads_nor_without_a_way_back(toys: Toys) -> None:
    """Writes first: stale reads, and no end. Reads first: no way back. Nothing to stream it from: found too late."""
    with pytest.raises(PlanError, match="a switch follows the last canary step, and this is at legacy"):
        switch(toys)
    toys.put_stand(Stand("canary", 10))
    with pytest.raises(PlanError, match="a switch follows canary 50 %, and this is at canary 10 %"):
        switch(toys)
    with toys.context() as context:
        assert verbs.rollback(context, toys.domain, to="legacy").after == "legacy"
        [wave] = context.admin().table().domains[toys.domain].waves
        assert (wave.owner, wave.phase) == ("legacy", "legacy")
    toys.put_stand(AT_50)
    slot = toys.stream("reverse").slot
    toys.stop_stream("reverse")
    with psycopg.connect(toys.service, autocommit=True) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    with pytest.raises(Refused, match="reverse-stream: its slot is missing"):
        switch(toys)
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}
