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
    board.take_watermarks({"d.forward": clock.now - 1, "d.reverse": clock.now + 1})
    clock.now += 10
    assert board.pinned("d", "legacy", [b"me"]), "the service does not have the write yet"
    assert not board.pinned("d", "service", [b"me"]), "legacy has it already"
    clock.now += 30
    assert not board.pinned("d", "legacy", [b"me"]), "but not for ever"


def test_a_stream_that_is_not_heard_of_any_more_counts_as_far_as_it_was_known_last() -> None:
    clock = Clock()
    board = PinBoard(clock=clock)
    board.take_watermarks({"d.forward": clock.now - 1})
    board.record("d", [b"me"])
    board.take_watermarks({})
    clock.now += 10
    assert board.pinned("d", "legacy", [b"me"]), "it may be away for longer than a blind pin lasts"
    assert not board.is_ahead("d", "legacy", board.last_write("d", "legacy", [b"me"])), (
        "who has no choice does not wait"
    )


def test_clocks_that_differ_a_little_let_no_pin_end_early() -> None:
    clock = Clock()
    board = PinBoard(clock=clock, skew=0.1)
    board.record("d", [b"me"])
    board.take_watermarks({"d.forward": clock.now + 0.09})
    assert board.pinned("d", "legacy", [b"me"]), "the database's clock may be ahead of ours"
    board.take_watermarks({"d.forward": clock.now + 0.11})
    assert not board.pinned("d", "legacy", [b"me"])


def test_a_shared_board_that_is_not_trusted_sends_every_read_to_the_owner() -> None:
    clock, now = Clock(), Clock()
    board = PinBoard(clock=clock, monotonic=now, shared=True)
    board.take_watermarks({"d.forward": clock.now - 1})
    assert not board.quiet()
    assert board.pinned("d", "legacy", [b"anybody"])
    board.trust(now.now + 0.4, alone=False, after_a_gap=True)
    assert board.pinned("d", "legacy", [b"anybody"]), "what was written elsewhere before now is not known"
    assert not board.alone()
    clock.now += 1
    board.take_watermarks({"d.forward": clock.now})
    assert not board.pinned("d", "legacy", [b"anybody"])
    board.take([7])
    now.now += 0.5
    board.take_watermarks({"d.forward": clock.now + 100})
    assert board.pinned("d", "legacy", [b"anybody"]), "the lease is over"
    board.trust(now.now + 0.4, alone=True, after_a_gap=False)
    assert not board.pinned("d", "legacy", [b"anybody"])
    assert board.alone()
    board.distrust()
    assert not board.alone()


def test_pins_outlive_a_restart_and_trust_does_not(tmp_path: Path) -> None:
    clock = Clock()
    board = PinBoard(tmp_path / "pins", clock, shared=True)
    board.trust(1e9, alone=True, after_a_gap=False)
    board.record("d", [b"me"])
    again = PinBoard(tmp_path / "pins", clock)
    again.distrust()
    assert again.pinned("d", "legacy", [b"me"])
    assert not board.trusted()
