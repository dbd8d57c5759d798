"""Which reads go to the owner after a write."""

from __future__ import annotations

from pathlib import Path

from gateway.policies.pins import PinBoard
from tests.unit.gateway.clock import Clock


def test_pins_are_seen_by_every_worker_of_the_machine(tmp_path: Path) -> None:
    clock = Clock()
    one, other = PinBoard(tmp_path / "pins", clock), PinBoard(tmp_path / "pins", clock)
    assert other.quiet()
    one.record("d", [b"me"])
    assert other.pinned("d", "legacy", [b"nobody", b"me"])
    assert not other.pinned("e", "legacy", [b"me"])
    clock.now += 2
    assert not other.pinned("d", "legacy", [b"me"]), "blind pins last two seconds"


def test_a_write_of_nobody_known_pins_its_whole_domain_and_no_other() -> None:
    board = PinBoard(clock=Clock())
    board.record("d", [])
    assert board.pinned("d", "legacy", [b"me"])
    assert board.pinned("d", "legacy", [])
    assert not board.pinned("e", "legacy", [b"me"])


def test_a_write_of_a_known_client_leaves_the_others_alone() -> None:
    board = PinBoard(clock=Clock())
    board.record("d", [b"me"])
    assert not board.pinned("d", "legacy", [b"other"])
    assert not board.pinned("d", "legacy", [])


def test_a_pin_lasts_until_the_watermark_has_passed() -> None:
    clock = Clock()
    board = PinBoard(clock=clock)
    board.record("d", [b"me"])
    board.watermarks = {"d.forward": clock.now - 1, "d.reverse": clock.now + 1}
    clock.now += 10
    assert board.pinned("d", "legacy", [b"me"]), "the service does not have the write yet"
    assert not board.pinned("d", "service", [b"me"]), "legacy has it already"
    clock.now += 30
    assert not board.pinned("d", "legacy", [b"me"]), "but not for ever"
