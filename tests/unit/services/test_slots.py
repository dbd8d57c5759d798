"""The monolith's slots and ours: the same text comes back, and a device is never told what it cannot follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.domain.devices import Slot, command_states
from services.devices.facade.slots import BadSlots, parse, text
from services.devices.store.slots import from_json, to_json


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Slot, ...]:
    edges = sorted(draw(st.sets(st.integers(0, 1440), min_size=0, max_size=40)))
    slots = []
    for since, until in zip(edges[::2], edges[1::2], strict=False):
        mode = draw(st.sampled_from(["charge", "discharge", "hold"]))
        slots.append(Slot(since, until, mode, 0 if mode == "hold" else draw(st.integers(1, 5000))))
    return tuple(slots)


@given(schedules())
def test_slots_come_back_from_text_and_from_json(slots: tuple[Slot, ...]) -> None:
    assert parse(text(slots), 5000) == slots
    assert text(parse(text(slots), 5000)) == text(slots)
    assert from_json(to_json(slots)) == slots


@pytest.mark.parametrize(
    "bad",
    [
        "0000-2401 H0", "0500-0500 H0", "0600-0500 H0", "0000-0500 C0", "0000-0500 C5001", "0000-0500 H1", ";",
        "0000-0600 C1;0500-0700 C1", "0000-0500 X1", "0000-0500 C01", "0060-0100 H0", "0000-0500 C1;", "noon",
        ";".join(["0000-0001 H0"] * 97),
    ],
)  # fmt: skip
def test_slots_that_no_device_can_follow_are_refused(bad: str) -> None:
    with pytest.raises(BadSlots):
        parse(bad, 5000)


@pytest.mark.parametrize(
    ("reports", "states"),
    [
        ([], {}),
        ([("a", "delivered")], {"a": "sent"}),
        ([("a", "expired"), ("a", "succeeded")], {"a": "expired"}),
        ([("a", "failed"), ("a", "expired"), ("b", "succeeded")], {"a": "expired", "b": "sent"}),
    ],
)
def test_a_command_was_sent_unless_any_report_says_that_it_expired(
    reports: list[tuple[str, str]], states: dict[str, str]
) -> None:
    assert command_states(reports) == states
