"""The whole switch on real servers, under writes that never pause: nothing lost, nothing doubled, nobody refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from migration_plan import verbs
from migration_plan.errors import Aborted, Busy, PlanError, Refused
from migration_plan.journey import Stand
from migration_plan.status import read
from tests.integration.migration_plan.toy import INSERT, Toys, until, writing

AT_50 = Stand("canary", 50)


def switch(toys: Toys, actor: str = "ann", **more: object) -> verbs.Result:
    with toys.context(actor) as context:
        return verbs.switch(context, toys.domain, **more)  # type: ignore[arg-type]


def rollback(toys: Toys, **more: object) -> verbs.Result:
    with toys.context() as context:
        return verbs.rollback(context, toys.domain, **more)  # type: ignore[arg-type]


def test_writes_move_there_and_back_under_load_and_none_is_lost_or_refused(toys: Toys) -> None:
    toys.put_stand(AT_50)
    with writing(toys) as seen:
        there = switch(toys, reason="test")
        before = len(seen.accepted)
        until(lambda: len(seen.accepted) > before + 50 or seen.failed, "writes at the service")
        back = rollback(toys, reason="test")
        before = len(seen.accepted)
        until(lambda: len(seen.accepted) > before + 50 or seen.failed, "writes at the monolith")
    assert seen.failed == []
    assert there.owner == "service"
    assert back.owner == "legacy"
    assert 0 < there.pause_ms < 1000  # type: ignore[operator]
    assert 0 < back.pause_ms < 1000  # type: ignore[operator]
    toys.equal()
    assert sorted(seen.accepted) == toys.names("legacy")
    assert toys.ownership()["legacy"][0] == toys.ownership()["service"][0] == "legacy"


def test_a_switch_that_is_done_has_nothing_to_do(toys: Toys) -> None:
    toys.put_stand(AT_50)
    assert switch(toys).changed
    again = switch(toys)
    assert not again.changed
    assert again.message.endswith("already at service, nothing to do")
    with toys.context() as context:
        assert verbs.advance(context, toys.domain).message.endswith("already at service, nothing to do")


def test_a_dry_run_predicts_the_pause_and_changes_nothing(toys: Toys) -> None:
    toys.put_stand(AT_50)
    with toys.context() as context:
        before = (toys.ownership(), context.admin().table(), context.ledger().check().rows)
        result = verbs.switch(context, toys.domain, dry_run=True)
        assert (toys.ownership(), context.admin().table(), context.ledger().check().rows) == before
    assert [step.split()[0] for step in result.steps] == list("012345678")
    assert result.predicted_pause_ms is not None


def test_a_long_transaction_makes_the_fence_give_way_and_nothing_changes(toys: Toys) -> None:
    toys.put_stand(AT_50)
    before = toys.ownership()
    with psycopg.connect(toys.legacy) as busy:
        busy.execute(INSERT["legacy"], ["held open"])
        with pytest.raises(Aborted, match="a long transaction holds the tables at legacy"):
            switch(toys, forced=["open-transactions", "pause"])
        assert toys.ownership() == before
        with toys.context() as context:
            [wave] = context.admin().table().domains[toys.domain].waves
            assert (wave.owner, wave.hold, wave.phase) == ("legacy", False, "canary")
        busy.rollback()
    assert switch(toys).owner == "service"


def test_a_long_transaction_is_refused_by_the_preflight(toys: Toys) -> None:
    toys.put_stand(AT_50)
    with psycopg.connect(toys.legacy) as busy:
        busy.execute(INSERT["legacy"], ["held open"])
        pause = threading.Event()
        pause.wait(1.1)
        with pytest.raises(Refused, match="open-transactions: the oldest at legacy is"):
            switch(toys)


def test_two_controllers_cannot_switch_at_once(toys: Toys) -> None:
    toys.put_stand(AT_50)
    refused: list[str] = []

    def second(step: str, when: str) -> None:
        if (step, when) == ("preflight", "after"):
            with pytest.raises(Busy) as caught:
                switch(toys, "bob")
            refused.append(str(caught.value))

    assert switch(toys, hook=second).owner == "service"
    assert refused
    assert refused[0].startswith(f"banyan ann is at work on {toys.domain}")


def test_a_controller_that_lost_its_lease_finds_the_wave_moved_and_holds_nothing(toys: Toys) -> None:
    toys.put_stand(AT_50)

    def lose_the_lease(step: str, when: str) -> None:
        if (step, when) != ("preflight", "after"):
            return
        with psycopg.connect(toys.env["BANYAN_LEDGER_DSN"]) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'banyan ann' AND datname = current_database()"
            )
        assert switch(toys, "bob").owner == "service"

    with pytest.raises(Busy, match="another controller moved the writes meanwhile: service accepts them"):
        switch(toys, hook=lose_the_lease)
    with toys.context() as context:
        [wave] = context.admin().table().domains[toys.domain].waves
        assert (wave.owner, wave.hold, wave.phase) == ("service", False, "service")
    assert switch(toys).message.endswith("already at service, nothing to do")


def test_a_controller_that_is_silent_in_the_fence_is_overtaken_and_no_write_fails(toys: Toys) -> None:
    """Frozen, or cut off: while it kept its lease nobody could end its fence, and writes failed for half a minute."""
    toys.put_stand(AT_50)
    silent, goes_on = threading.Event(), threading.Event()

    def fall_silent(step: str, when: str) -> None:
        if (step, when) == ("cross", "before"):
            silent.set()
            assert goes_on.wait(60)

    def first() -> str:
        with pytest.raises(PlanError) as caught:
            switch(toys, hook=fall_silent, forced=["pause"])
        return type(caught.value).__name__

    with ThreadPoolExecutor(1) as pool:
        ann = pool.submit(first)
        assert silent.wait(60)
        began = time.monotonic()
        assert switch(toys, "bob", forced=["pause"]).owner == "service"
        assert time.monotonic() - began < 15
        goes_on.set()
        assert ann.result(60) in ("Busy", "Unfinished", "Unreachable")
    assert {owner for owner, _ in toys.ownership().values()} == {"service"}
    with toys.context() as context:
        [wave] = context.admin().table().domains[toys.domain].waves
        assert (wave.owner, wave.hold) == ("service", False)
        assert context.ledger().check().holds


def backends(dsn: str) -> list[int]:
    """Of the control path's connections to this database."""
    with psycopg.connect(dsn) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
        return [pid for (pid,) in connection.execute(query, ["banyan plan"])]


def test_an_old_owner_frozen_after_step_6_does_not_keep_the_routes_from_the_new_one(toys: Toys) -> None:
    """It had kept them for the whole time-out of an answer, 12 s."""
    toys.put_stand(AT_50)
    frozen: list[int] = []

    def freeze(step: str, when: str) -> None:
        if (step, when) == ("confirm", "before") and not frozen:
            frozen.extend(backends(toys.legacy))
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)

    try:
        with writing(toys, clients=2) as seen:
            done = switch(toys, hook=freeze)
            before = len(seen.accepted)
            until(lambda: len(seen.accepted) > before + 20 or seen.failed, "writes at the service")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert frozen
    assert seen.failed == []
    assert done.pause_ms is not None
    assert done.pause_ms < 1000
    assert {owner for owner, _ in toys.ownership().values()} == {"service"}
    with toys.context() as context:
        steps = [row.entry.step for row in context.ledger().history(toys.domain) if row.entry.verb == "switch"]
    assert steps.index("confirm.failed") < steps.index("publish.arrived") < steps.index("confirm.done")
    toys.equal()
    assert sorted(seen.accepted) == toys.names("service")


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("step", ["fence", "cross", "confirm"])
def test_a_controller_killed_after_a_step_is_finished_by_the_next_under_load(toys: Toys, step: str) -> None:
    toys.put_stand(AT_50)

    def die(at: str, when: str) -> None:
        if (at, when) == (step, "after"):
            raise Killed

    with writing(toys, clients=2) as seen:
        with pytest.raises(Killed):
            switch(toys, hook=die)
        finished = switch(toys)
        before = len(seen.accepted)
        until(lambda: len(seen.accepted) > before + 20 or seen.failed, "writes at the service")
    assert finished.owner == "service"
    assert seen.failed == []
    toys.equal()
    assert sorted(seen.accepted) == toys.names("service")
    assert {owner for owner, _ in toys.ownership().values()} == {"service"}
    with toys.context() as context:
        assert context.ledger().check().holds
        [domain] = read(context).domains
    assert (domain.phase, domain.owner) == ("service", "service")


def test_a_reverse_stream_that_is_down_stops_the_switch(toys: Toys) -> None:
    toys.put_stand(AT_50)
    toys.stop_stream("reverse")
    with pytest.raises(Refused, match="reverse-stream: nobody reads its slot"):
        switch(toys)
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}


def test_a_forward_stream_that_stops_during_the_fence_gives_the_writes_back(toys: Toys) -> None:
    toys.put_stand(AT_50)

    def cut(step: str, when: str) -> None:
        if (step, when) == ("hold", "before"):
            toys.stop_stream("forward")

    with pytest.raises(Aborted, match="legacy accepts the writes again"):
        switch(toys, hook=cut)
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}
    toys.start_stream("forward")
    assert switch(toys).owner == "service"


def refuse_poison(toys: Toys) -> None:
    """From now on the service refuses what the monolith accepts, so the stream parks it."""
    with psycopg.connect(toys.service) as connection:
        connection.execute("ALTER TABLE toys ADD CONSTRAINT no_poison CHECK (label NOT LIKE 'poison%')")


def write_poison(toys: Toys, name: str) -> None:
    with psycopg.connect(toys.legacy) as connection:
        connection.execute(INSERT["legacy"], [name])


def parked_keys(toys: Toys) -> int:
    with toys.context() as context:
        return sum(stream.parked for stream in read(context).domains[0].streams.values())


def test_a_change_parked_between_preflight_and_fence_gives_the_writes_back(toys: Toys) -> None:
    toys.put_stand(AT_50)
    refuse_poison(toys)

    def accept(step: str, when: str) -> None:
        if (step, when) == ("hold", "before"):
            write_poison(toys, "poison")

    with pytest.raises(Aborted, match=r"refused .*: 1 parked key \(.*parked list --stream toys\d+\.forward") as caught:
        switch(toys, hook=accept)
    assert "legacy accepts the writes again" in str(caught.value)
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}
    with toys.context() as context:
        [wave] = context.admin().table().domains[toys.domain].waves
    assert (wave.owner, wave.hold) == ("legacy", False)
    with pytest.raises(Refused, match="parked: 1 parked keys"):
        switch(toys)


def test_a_forced_gate_accepts_what_is_parked_by_then_and_nothing_after_it(toys: Toys) -> None:
    toys.put_stand(AT_50)
    refuse_poison(toys)
    write_poison(toys, "poison 1")
    until(lambda: parked_keys(toys) == 1, "the change to be parked")

    def accept(step: str, when: str) -> None:
        if (step, when) == ("hold", "before"):
            write_poison(toys, "poison 2")

    with pytest.raises(Aborted, match="1 parked key "):
        switch(toys, forced=["parked", "verify"], hook=accept)
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}
    assert switch(toys, forced=["parked", "verify"]).owner == "service"


def test_without_a_gateway_the_guard_alone_keeps_the_peace(toys: Toys) -> None:
    toys.put_stand(AT_50)
    toys.stop_gateway()
    result = switch(toys, forced=["gateway", "health", "breaker"])
    assert result.owner == "service"
    assert result.published["gateway"] == "not told"


def test_status_shows_both_databases_streams_and_the_gateway(toys: Toys) -> None:
    toys.put_stand(AT_50)
    with toys.context() as context:
        status = read(context)
    [domain] = status.domains
    assert (domain.domain, domain.phase, domain.canary_percent, domain.owner) == (toys.domain, "canary", 50, "legacy")
    assert all(stream.alive for stream in domain.streams.values())
    assert domain.verify is not None
    assert domain.verify.clean
    assert domain.waves[0].routed is not None
    assert domain.waves[0].routed["phase"] == "canary"
    assert domain.problems == status.problems == []


def test_status_shows_what_it_can_when_the_gateway_is_away(toys: Toys) -> None:
    toys.stop_gateway()
    with toys.context() as context:
        status = read(context)
    assert status.gateway_version is None
    assert "does not answer" in " ".join(status.problems)
    assert status.domains[0].owner == "legacy"
