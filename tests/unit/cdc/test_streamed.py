"""Transactions that arrive before they have ended: whole or not at all, and nothing of what was rolled back."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.options import options, protocol
from cdc.capture.pgoutput import Begin, Commit
from cdc.capture.streamed import Ended, Streamed
from cdc.errors import ProtocolError, SpoolFull

AT = 757382400000000  # 2024-01-01


def start(xid: int, first: bool = True) -> bytes:
    return b"S" + struct.pack("!IB", xid, first)


def row(xid: int, body: bytes) -> bytes:
    return b"I" + struct.pack("!I", xid) + body


def commit(xid: int, lsn: int = 100) -> bytes:
    return b"c" + struct.pack("!IBQQq", xid, 0, lsn, lsn + 8, AT)


def abort(xid: int, sub: int, parallel: bool = False) -> bytes:
    return b"A" + struct.pack("!II", xid, sub) + (struct.pack("!Qq", 5, AT) if parallel else b"")


def feed(streamed: Streamed, *messages: bytes) -> list[Ended]:
    ended = [streamed.feed(lsn, data) for lsn, data in enumerate(messages) if streamed.takes(data)]
    return [found for found in ended if found is not None]


def test_a_transaction_comes_in_blocks_and_ends_as_if_it_came_at_once() -> None:
    streamed = Streamed()
    (ended,) = feed(
        streamed,
        start(7),
        row(7, b"a"),
        b"E",
        start(9),
        row(9, b"x"),
        b"E",
        start(7, False),
        row(8, b"b"),
        b"E",
        commit(7),
    )
    assert (ended.begin.xid, ended.begin.commit_lsn) == (7, 100)
    assert ended.commit == Commit(100, 108, ended.begin.commit_at)
    assert isinstance(ended.begin, Begin)
    assert list(ended.messages()) == [(1, b"Ia"), (7, b"Ib")]
    assert [data for _, data in feed(streamed, commit(9))[0].messages()] == [b"Ix"]
    assert streamed.size == 0


@pytest.mark.parametrize("parallel", [False, True])
def test_a_rolled_back_part_is_left_out_and_a_rolled_back_whole_leaves_nothing(parallel: bool) -> None:
    streamed = Streamed()
    feed(streamed, start(7), row(7, b"a"), row(8, b"b"), row(7, b"c"), b"E", abort(7, 8, parallel))
    feed(streamed, start(20), row(20, b"z"), b"E", abort(20, 20, parallel))
    (ended,) = feed(streamed, commit(7))
    assert [data for _, data in ended.messages()] == [b"Ia", b"Ic"]
    assert streamed.size == 0


def test_an_origin_has_no_transaction_id_and_comes_first() -> None:
    origin = b"O" + struct.pack("!Q", 77) + b"elsewhere\0"
    (ended,) = feed(Streamed(), start(7), origin, row(7, b"a"), b"E", commit(7))
    assert [data for _, data in ended.messages()] == [origin, b"Ia"]


def test_what_is_not_streamed_is_left_to_others() -> None:
    streamed = Streamed()
    assert not any(streamed.takes(data) for data in (b"B...", b"I...", b"C...", b"R...", b"M..."))
    streamed.feed(0, start(1))
    assert streamed.takes(b"I...")


def test_a_transaction_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    streamed = Streamed(tmp_path, max_bytes=2 << 20)
    feed(streamed, start(7), row(7, b"x" * (1 << 20)))
    with pytest.raises(SpoolFull, match="2 MiB allowed"):
        streamed.feed(3, row(7, b"x" * (1 << 20)))


def test_a_large_transaction_is_on_disk_without_a_name_that_could_stay(tmp_path: Path) -> None:
    streamed = Streamed(tmp_path)
    (ended,) = feed(streamed, start(7), *(row(7, bytes([n]) * 1_000_000) for n in range(5)), b"E", commit(7))
    assert list(tmp_path.iterdir()) == []
    assert [data[1] for _, data in ended.messages()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("message", [commit(99), abort(99, 98), b"S\0", b"c\0\0", b"A\0"])
def test_what_makes_no_sense_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        Streamed().feed(0, message)


STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.binary(max_size=5)), max_size=40)


@given(STEPS, st.sets(st.integers(1, 3)))
def test_any_interleaving_gives_each_transaction_its_own_messages(
    steps: list[tuple[int, int, bytes]], aborted: set[int]
) -> None:
    """Three transactions, each with three subtransactions of which some are rolled back."""
    streamed = Streamed()
    for top, sub, body in steps:
        xid = 100 * (top + 1)
        feed(streamed, start(xid), row(xid + sub, body), b"E")
    for top in range(3):
        xid = 100 * (top + 1)
        expected = [b"I" + body for t, sub, body in steps if t == top and sub not in aborted]
        if not any(t == top for t, _, _ in steps):
            continue
        feed(streamed, *(abort(xid, xid + sub) for sub in aborted))
        (ended,) = feed(streamed, commit(xid))
        assert [data for _, data in ended.messages()] == expected
    assert streamed.size == 0


def test_the_protocol_is_the_newest_that_the_server_speaks() -> None:
    assert [protocol(major * 10000) for major in (10, 13, 14, 15, 16, 17, 18)] == [1, 1, 2, 3, 4, 4, 4]
    assert options(130000, ["a"], streaming=True, binary=True) == {"proto_version": "1", "publication_names": '"a"'}
    assert options(180000, ["a b", 'c"'], streaming=True, binary=True) == {
        "proto_version": "4",
        "publication_names": '"a b","c"""',
        "messages": "true",
        "streaming": "on",
        "binary": "true",
        "origin": "none",
    }
    assert options(140000, ["a"]).keys() == {"proto_version", "publication_names", "messages"}
