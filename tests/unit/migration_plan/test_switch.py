"""The switch, with every way to fail: one writer at any time, nothing lost, and always a consistent end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_plan.errors import Aborted, Busy, OwnershipBroken, PlanError, Refused, Unfinished, Unreachable
from migration_plan.plan import Side
from migration_plan.switch import STEPS, locate, recover
from migration_plan.switch.ports import FenceTimeout, Owned, SequencesClash
from migration_plan.switch.resolve import InFlight, Settled
from tests.unit.migration_plan.world import AT_50, Killed, World

POINTS = [(step.name, when) for step in STEPS for when in ("before", "after")]
#: Every call that reaches outside; a process can die in any of them.
CALLS = [
    "legacy.read", "legacy.fence", "legacy.fenced", "legacy.set_owner", "legacy.owner_set",
    "service.read", "service.set_owner", "service.owner_set",
    "stream.wait_fence", "stream.check_parked", "stream.check_sequences", "routes.hold", "routes.publish",
    "journal.write", "checks.preflight", "checks.verify",
]  # fmt: skip


def at(source: Side) -> World:
    """A world in which `source` owns the writes and some were made."""
    world = World()
    if source == "service":
        world.switch()
    for _ in range(3):
        world.write()
    world.calls.clear()
    return world


def mirrored(name: str, source: Side) -> str:
    """A call's name as it is when the sides are exchanged."""
    swap = {"legacy": "service", "service": "legacy"}
    side, _, call = name.partition(".")
    return f"{swap[side]}.{call}" if source == "service" and side in swap else name


@pytest.mark.parametrize("source", ["legacy", "service"])
def test_a_switch_moves_the_writes_and_says_how_long_they_waited(source: Side) -> None:
    world = at(source)
    outcome = world.switch()
    assert outcome.owner == world.owner != source
    assert 0 < outcome.pause_ms < 100
    assert list(outcome.step_ms) == [step.name for step in STEPS]
    world.settled()


def test_there_and_back_and_there_again() -> None:
    world = World()
    for _ in range(6):
        world.switch()
        world.settled()
    assert world.owner == "legacy"


def test_every_step_is_journaled_before_and_after_it() -> None:
    world = at("legacy")
    world.switch()
    told = [(note.step, note.at) for note in world.notes]
    for step in STEPS:
        assert told.index((step.name, "begin")) < told.index((step.name, "done"))
    assert told[-1] == ("end", "done")


@pytest.mark.parametrize("source", ["legacy", "service"])
@pytest.mark.parametrize(("step", "when"), POINTS)
def test_a_controller_killed_at_any_step_is_finished_by_the_next(source: Side, step: str, when: str) -> None:
    world = at(source)

    def die(at_step: str, at_when: str) -> None:
        if (at_step, at_when) == (step, when):
            raise Killed

    with pytest.raises(Killed):
        world.switch(die)
    world.write()
    recovered = world.recover()
    world.write()
    world.settled()
    crossed = [name.name for name in STEPS].index(step) > 5 or (step, when) == ("cross", "after")
    assert (recovered.owner != source) == crossed
    if not crossed:
        world.switch()
    world.settled()
    assert world.owner != source


@pytest.mark.parametrize("source", ["legacy", "service"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("nth", [0, 1, 2, 3])
def test_a_controller_killed_inside_any_call_is_finished_by_the_next(source: Side, call: str, nth: int) -> None:
    world = at(source)
    name = mirrored(call, source)
    world.trouble[name] = [*[None] * nth, Killed()]
    try:
        world.switch()
    except Killed:
        pass
    world.trouble.clear()
    world.write()
    world.recover()
    world.settled()
    if world.owner == source:
        world.switch()
    world.settled()


@pytest.mark.parametrize("source", ["legacy", "service"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("times", [1, 40])
def test_a_server_that_is_away_at_any_call_leaves_something_to_finish_or_nothing(
    source: Side, call: str, times: int
) -> None:
    world = at(source)
    name = mirrored(call, source)
    world.trouble[name] = [Unreachable("away")] * times
    try:
        world.switch()
    except PlanError:
        pass
    world.trouble.clear()
    world.write()
    world.recover()
    world.settled()


@pytest.mark.parametrize("source", ["legacy", "service"])
def test_an_old_owner_that_takes_seconds_to_be_unreachable_does_not_keep_the_routes_from_the_new_one(
    source: Side,
) -> None:
    """Twenty attempts of three seconds each would have held the writes for a minute."""
    world = at(source)
    name = mirrored("legacy.set_owner", source)
    world.trouble[name] = [Unreachable("no answer")] * 40
    world.slow[name] = 3.0
    with pytest.raises(Unfinished):
        world.switch()
    assert not world.holding
    assert world.routed[0].owner != source
    assert world.seconds < 10


@pytest.mark.parametrize("source", ["legacy", "service"])
def test_a_frozen_old_owner_delays_the_routes_by_one_short_answer_and_is_told_when_it_wakes(source: Side) -> None:
    """It had delayed them by its whole time-out, 12 s, though it refuses writes anyway."""
    world = at(source)
    world.notes.clear()
    world.slow[mirrored("legacy.set_owner", source)] = 4.0
    outcome = world.switch()
    assert outcome.pause_ms < 300
    assert world.calls.index("routes.publish") < max(
        number for number, call in enumerate(world.calls) if call == mirrored("legacy.set_owner", source)
    )
    said = [(note.step, note.at) for note in world.notes if note.step in ("confirm", "publish")]
    assert said == [
        ("confirm", "begin"), ("confirm", "failed"), ("publish", "begin"), ("publish", "done"),
        ("publish", "arrived"), ("confirm", "begin"), ("confirm", "done"),
    ]  # fmt: skip
    world.settled()


@pytest.mark.parametrize("source", ["legacy", "service"])
def test_a_controller_killed_before_it_told_the_old_owner_late_is_finished_by_the_next(source: Side) -> None:
    world = at(source)
    world.trouble[mirrored("legacy.set_owner", source)] = [Unreachable("frozen")]
    met: list[str] = []

    def die(step: str, when: str) -> None:
        met.append(f"{step}.{when}")
        if met.count("confirm.before") == 2:
            raise Killed

    with pytest.raises(Killed):
        world.switch(die)
    assert not world.holding
    assert world.recover().repaired is not None
    world.settled()


@pytest.mark.parametrize("source", ["legacy", "service"])
@pytest.mark.parametrize(("step", "when"), POINTS)
@pytest.mark.parametrize("second", ["recover", "switch", "there and back"])
def test_a_controller_that_was_thought_dead_does_no_harm_when_it_goes_on(
    source: Side, step: str, when: str, second: str
) -> None:
    world = at(source)

    def another_takes_over(at_step: str, at_when: str) -> None:
        if (at_step, at_when) != (step, when):
            return
        world.recover()
        world.settled()
        if second != "recover":
            world.switch()
            world.settled()
        if second == "there and back":
            world.switch()
            world.settled()

    try:
        world.switch(another_takes_over)
    except PlanError:
        pass
    world.write()
    world.recover()
    world.settled()


@pytest.mark.parametrize("source", ["legacy", "service"])
@pytest.mark.parametrize(("step", "when"), POINTS[: POINTS.index(("cross", "after"))])
def test_a_controller_whose_wave_was_moved_by_another_releases_its_hold_and_says_so(
    source: Side, step: str, when: str
) -> None:
    world = at(source)

    def another_moves_it(at_step: str, at_when: str) -> None:
        if (at_step, at_when) == (step, when):
            world.switch(source=source)
            world.settled()

    with pytest.raises(Busy, match="another controller moved the writes meanwhile"):
        world.switch(another_moves_it)
    assert world.owner != source
    world.write()
    world.settled()


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_mixture_of_deaths_and_outages_ends_with_one_owner_and_every_write(data: st.DataObject) -> None:
    world = World()
    names = sorted({mirrored(call, side) for call in CALLS for side in ("legacy", "service")})
    errors = st.sampled_from([Killed(), Unreachable("away"), None])
    for _ in range(data.draw(st.integers(1, 4))):
        world.trouble = data.draw(st.dictionaries(st.sampled_from(names), st.lists(errors, max_size=4), max_size=3))
        try:
            world.switch()
        except (Killed, PlanError):
            pass
        world.write()
    world.trouble = {}
    world.recover()
    world.settled()


def test_a_fence_that_gets_no_locks_releases_the_hold_and_tries_again() -> None:
    world = at("legacy")
    world.trouble["legacy.fence"] = [FenceTimeout("lock timeout"), FenceTimeout("lock timeout")]
    outcome = world.switch()
    assert outcome.attempts == 3
    assert world.calls.count("routes.hold") == 3
    assert world.calls.count("routes.publish") == 4  # recover, two releases, the new routes
    world.settled()


def test_a_fence_that_never_gets_its_locks_gives_up_and_changes_nothing() -> None:
    world = at("legacy")
    world.trouble["legacy.fence"] = [FenceTimeout("lock timeout")] * 9
    rows = dict(world.rows)
    with pytest.raises(Aborted, match="a long transaction holds the tables at legacy; end it and try again"):
        world.switch(fence_attempts=4)
    assert world.rows == rows
    assert world.calls.count("legacy.fence") == 4
    world.settled()


def test_a_switch_given_up_blames_who_is_known_to_hold_the_tables() -> None:
    world = World()
    vacuum = "an autovacuum to prevent wraparound works on public.toy (pid 7)"
    world.trouble["legacy.fence"] = [FenceTimeout("lock timeout"), *[FenceTimeout(vacuum, vacuum)] * 9]
    with pytest.raises(Aborted) as caught:
        world.switch(fence_attempts=2)
    assert f"at legacy, {vacuum}; try again when it is done" in str(caught.value)
    assert "a long transaction" not in str(caught.value)
    world.settled()


def test_a_pause_above_its_budget_is_given_up() -> None:
    world = at("legacy")
    world.slow["stream.wait_fence"] = 2.0
    with pytest.raises(Aborted, match="the marker was not applied"):
        world.switch(pause_ms=1000)
    assert world.owner == "legacy"
    world.settled()


@pytest.mark.parametrize("source", ["legacy", "service"])
def test_a_change_parked_before_the_fence_gives_the_writes_back(source: Side) -> None:
    world = at(source)
    world.parked = 1
    with pytest.raises(Aborted, match=f"1 parked keys; {source} accepts the writes again"):
        world.switch()
    assert world.owner == source
    world.settled()
    world.parked = 0
    assert world.switch().owner != source
    world.settled()


def test_the_point_of_no_return_is_not_crossed_after_the_budget() -> None:
    world = at("legacy")
    world.slow["stream.check_sequences"] = 2.0
    with pytest.raises(Aborted, match="pause budget of 1000 ms is used up"):
        world.switch(pause_ms=1000)
    world.settled()


def test_sequences_that_clash_stop_the_switch() -> None:
    world = at("legacy")
    world.trouble["stream.check_sequences"] = [SequencesClash("toys_id_seq is at 7")]
    with pytest.raises(Aborted, match="toys_id_seq"):
        world.switch()
    world.settled()


def test_a_failing_preflight_changes_nothing() -> None:
    world = at("legacy")
    world.trouble["checks.preflight"] = [Refused("lag 5000 ms")]
    with pytest.raises(Refused, match="lag"):
        world.switch()
    assert "routes.hold" not in world.calls
    assert "legacy.fence" not in world.calls
    world.settled()


def test_ctrl_c_before_the_point_of_no_return_puts_everything_back() -> None:
    world = at("legacy")
    world.trouble["stream.wait_fence"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.switch()
    assert world.owner == "legacy"
    world.settled()


def test_an_answer_that_was_lost_at_the_point_of_no_return_goes_forward() -> None:
    world = at("legacy")
    world.trouble["service.owner_set"] = [Unreachable("connection lost")]
    assert world.switch().owner == "service"
    world.settled()


def test_an_old_owner_that_cannot_be_told_leaves_the_writes_at_the_new_one() -> None:
    world = at("legacy")
    world.trouble["legacy.set_owner"] = [Unreachable("away")] * 40
    with pytest.raises(Unfinished, match=r"service accepts the writes, .* run the same command again"):
        world.switch()
    assert world.owner == "service"
    assert not world.holding
    world.trouble.clear()
    assert world.recover().repaired is not None
    world.settled()


def test_without_any_gateway_the_guard_keeps_the_peace() -> None:
    world = at("legacy")
    world.trouble["routes.publish"] = [Unreachable("no gateway")] * 99
    ports = world.ports()
    ports.routes.hold = lambda: False  # type: ignore[method-assign]
    world.ports = lambda: ports  # type: ignore[method-assign]
    assert world.switch().published["gateway"] == "not told"
    assert world.owner == "service"


def test_a_gateway_that_holds_and_vanishes_is_reported() -> None:
    world = at("legacy")
    world.trouble["routes.publish"] = [None, *[Unreachable("no answer")] * 99]
    with pytest.raises(Unfinished, match="the gateway was not told"):
        world.switch()
    world.trouble.clear()
    world.recover()
    world.settled()


@pytest.mark.parametrize(
    ("legacy", "service", "found"),
    [
        ("legacy", "legacy", Settled("legacy", 4)),
        ("service", "service", Settled("service", 7)),
        ("moving", "legacy", InFlight("legacy", passed=False)),
        ("moving", "service", InFlight("legacy", passed=True)),
        ("service", "moving", InFlight("service", passed=False)),
        ("legacy", "moving", InFlight("service", passed=True)),
    ],
)
def test_both_rows_together_tell_where_a_switch_is(legacy: str, service: str, found: Settled | InFlight) -> None:
    assert locate(Owned(legacy, 4), Owned(service, 7)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(("legacy", "service"), [("legacy", "service"), ("service", "legacy"), ("moving", "moving")])
def test_rows_that_contradict_each_other_are_left_alone(legacy: str, service: str) -> None:
    with pytest.raises(OwnershipBroken, match="contradict"):
        locate(Owned(legacy, 4), Owned(service, 7))  # type: ignore[arg-type]


def test_the_ledger_follows_the_databases() -> None:
    world = at("legacy")
    world.switch()
    world.stand = AT_50
    assert world.recover().repaired is not None
    world.settled()


def test_the_way_back_of_reads_needs_no_database_of_the_service() -> None:
    """Legacy's own row says that it accepts the writes: then no row of the service can say that the service does."""
    world = World()
    world.trouble["service.read"] = [Unreachable("away")] * 2
    with pytest.raises(Unreachable):
        recover(world.ports(), world.stand)
    assert recover(world.ports(), world.stand, only_reads=True).owner == "legacy"
    world.trouble["service.read"] = [Unreachable("away")]
    world.rows["legacy"] = Owned("moving", 2)
    with pytest.raises(Unreachable):
        recover(world.ports(), world.stand, only_reads=True)
