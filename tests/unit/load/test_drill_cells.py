"""The drill's matrix: the short form leaves no part, no fault and no step out; the table shows each outcome."""

from __future__ import annotations

from load.drill.cells import FAULTS, POINTS, Cell, chosen, full, quick
from load.drill.matrix import account, table
from load.drill.switch import Outcome


def outcome(cell: Cell, *problems: str) -> Outcome:
    return Outcome(str(cell), cell.row, cell.point, cell.verb, not problems, list(problems), "done", 1, 1.0)


def test_the_short_form_has_every_fault_once_and_every_point_in_one_direction_or_the_other() -> None:
    cells = quick()
    assert sorted((cell.component, cell.fault) for cell in cells) == sorted(
        (component, fault) for component, faults in FAULTS.items() for fault in faults
    )
    assert {cell.point for cell in cells} == set(POINTS)
    assert {cell.verb for cell in cells} == {"switch", "rollback"}


def test_the_full_form_has_everything_once() -> None:
    cells = full()
    assert len(cells) == len(set(cells)) == sum(map(len, FAULTS.values())) * len(POINTS) * 2


def test_a_part_and_a_step_can_be_chosen_by_name() -> None:
    assert {cell.component for cell in chosen(full(), ["redis"], [])} == {"redis"}
    assert {cell.point for cell in chosen(full(), [], ["cross"])} == {"cross.before", "cross.after"}
    assert {cell.point for cell in chosen(full(), ["redis"], ["cross.after"])} == {"cross.after"}


def test_a_cell_that_is_not_well_shows_in_the_table_and_in_the_account() -> None:
    bad, good = Cell("redis", "kill", "cross.before", "switch"), Cell("redis", "kill", "cross.after", "rollback")
    outcomes = [outcome(bad, "2 lost"), outcome(good)]
    assert "1/2 X" in table(outcomes)
    told = account(outcomes, 3.0, {})
    assert (told["well"], told["not_well"]) == (False, [str(bad)])
    assert account([outcome(good)], 3.0, {})["well"]


def test_a_drill_that_played_no_cell_is_not_well() -> None:
    assert not account([], 0.0, {})["well"]
