"""The decoder on bytes recorded from PostgreSQL 18, on hand-made ones, and on damaged ones."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.assemble import Assembler
from cdc.capture.pgoutput import Decoder, Delete, Insert, Origin, Truncate, Type, Update
from cdc.change import Boundary, Change, Event, Relation
from cdc.errors import ProtocolError

RECORDED = [
    (int(lsn), bytes.fromhex(data))
    for lsn, data in (line.split() for line in (Path(__file__).parent / "captured.txt").read_text().splitlines())
]


def decoded() -> list[object]:
    decoder = Decoder()
    return [decoder.decode(data) for _, data in RECORDED]


def events() -> list[Event]:
    decoder, assembler = Decoder(), Assembler()
    out: list[Event] = []
    for lsn, data in RECORDED:
        assembler.feed(lsn, decoder.decode(data), out)
    return out


def test_a_row_comes_with_python_values() -> None:
    insert = next(m for m in decoded() if isinstance(m, Insert))
    assert insert.new == {
        "id": 1,
        "a": "x" * 3000,
        "n": Decimal("1.50"),
        "at": datetime(2024, 1, 2, 2, 4, 5, 500000, UTC),
    }
    assert insert.relation.name == "public.t"
    assert [c.name for c in insert.relation.columns if c.key] == ["id"]
    assert insert.relation.columns[2].modifier == ((10 << 16) | 2) + 4


def test_an_unchanged_toasted_value_is_absent_not_null() -> None:
    first, second, _ = [m for m in decoded() if isinstance(m, Update)]
    assert first.new == {"id": 1, "n": None, "at": datetime(2024, 1, 2, 2, 4, 5, 500000, UTC)}
    assert first.old is None
    assert second.new["a"] == "s"


def test_a_changed_key_brings_the_old_key_and_nothing_else() -> None:
    update = [m for m in decoded() if isinstance(m, Update)][1]
    assert (update.old, update.new["id"]) == ({"id": 1}, 2)


def test_full_identity_brings_the_whole_old_row() -> None:
    update = [m for m in decoded() if isinstance(m, Update)][2]
    assert (update.old, update.new) == ({"a": 1, "b": "x"}, {"a": 1, "b": "y"})
    assert [m.old for m in decoded() if isinstance(m, Delete)] == [{"id": 2}, {"a": 2, "b": None}]


def test_truncate_names_its_tables_and_options() -> None:
    truncate = next(m for m in decoded() if isinstance(m, Truncate))
    assert [r.name for r in truncate.relations] == ["public.t", "public.f"]
    assert (truncate.restart_identity, truncate.cascade) == (True, True)


def test_an_unknown_type_stays_text() -> None:
    insert = [m for m in decoded() if isinstance(m, Insert)][-1]
    assert insert.new == {"id": 1, "m": "ok"}
    assert any(isinstance(m, Type) and m.name == "mood" for m in decoded())


def test_each_commit_is_a_boundary_and_a_heartbeat_is_one_without_commit() -> None:
    boundaries = [e for e in events() if isinstance(e, Boundary)]
    assert [b.lsn for b in boundaries] == sorted(b.lsn for b in boundaries)
    assert [b.commit for b in boundaries].count(False) == 1
    beat = next(b for b in boundaries if not b.commit)
    assert beat.at == datetime.fromtimestamp(1700000000.5, UTC)


def test_changes_carry_their_transaction_and_a_fence_is_one_of_them() -> None:
    changes = [e for e in events() if isinstance(e, Change)]
    assert "".join(c.op for c in changes) == "cuudccudttmc"
    assert len({c.tx.xid for c in changes}) == 10
    fence = next(c for c in changes if c.op == "m")
    assert fence.message is not None
    assert (fence.message.prefix, fence.message.content) == ("banyan.fence", b'{"epoch":1}')


def test_the_origin_of_a_transaction_is_known() -> None:
    decoder = Decoder()
    message = decoder.decode(b"O" + struct.pack("!Q", 77) + b"elsewhere\0")
    assert message == Origin(77, "elsewhere")
    assembler = Assembler()
    out: list[Event] = []
    assembler.feed(0, decoder.decode(RECORDED[0][1]), out)
    assembler.feed(0, message, out)
    for lsn, data in RECORDED[1:3]:
        assembler.feed(lsn, decoder.decode(data), out)
    assert isinstance(out[0], Change)
    assert (out[0].tx.origin, out[0].tx.origin_lsn) == ("elsewhere", 77)


def test_a_missing_toasted_value_is_taken_from_a_full_old_row() -> None:
    decoder = Decoder()
    relation = next(data for _, data in RECORDED if data[:1] == b"R" and b"f\0f" in data)
    assert isinstance(decoder.decode(relation), Relation)
    text = b"t" + struct.pack("!I", 1)
    head = b"U" + relation[1:5]
    two = struct.pack("!H", 2)
    update = decoder.decode(head + b"O" + two + text + b"1" + text + b"x" + b"N" + two + text + b"2" + b"u")
    assert isinstance(update, Update)
    assert update.new == {"a": 2, "b": "x"}


def test_a_change_of_an_undescribed_table_is_refused() -> None:
    with pytest.raises(ProtocolError, match="before its description"):
        Decoder().decode(RECORDED[2][1])


def test_a_change_outside_a_transaction_is_refused() -> None:
    decoder = Decoder()
    decoder.decode(RECORDED[1][1])
    with pytest.raises(ProtocolError, match="outside a transaction"):
        Assembler().feed(0, decoder.decode(RECORDED[2][1]), [])


@pytest.mark.parametrize("data", [b"", b"?", b"Z123", b"B\0", b"R\0\0\0\1public"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().decode(data)


@given(st.sampled_from(RECORDED), st.data())
def test_damage_is_a_protocol_error_or_another_message_never_a_crash(
    recorded: tuple[int, bytes], data: st.DataObject
) -> None:
    decoder = Decoder()
    for _, message in RECORDED:
        if message[:1] == b"R":
            decoder.decode(message)
    original = recorded[1]
    cut = data.draw(st.integers(0, len(original)))
    flip = data.draw(st.integers(0, max(0, cut - 1)))
    damaged = bytearray(original[:cut])
    if damaged:
        damaged[flip] ^= data.draw(st.integers(1, 255))
    try:
        decoder.decode(bytes(damaged))
    except ProtocolError:
        pass


@given(
    st.lists(
        st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))), min_size=1, max_size=8
    )
)
def test_any_text_row_comes_back(values: list[str | None]) -> None:
    decoder = Decoder()
    columns = b"".join(b"\0" + f"c{n}".encode() + b"\0" + struct.pack("!Ii", 25, -1) for n in range(len(values)))
    decoder.decode(b"R" + struct.pack("!I", 1) + b"public\0t\0d" + struct.pack("!H", len(values)) + columns)
    raw = [None if v is None else v.encode() for v in values]
    body = b"".join(b"n" if v is None else b"t" + struct.pack("!I", len(v)) + v for v in raw)
    insert = decoder.decode(b"I" + struct.pack("!I", 1) + b"N" + struct.pack("!H", len(values)) + body)
    assert isinstance(insert, Insert)
    assert list(insert.new.values()) == values
