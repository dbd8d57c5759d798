"""The applier's decisions: operations of a change, runs of operations, the slot's verdict, errors, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.apply.operations import Operation, mapped, operation
from cdc.apply.route import Routes, key_text, routes
from cdc.apply.runs import gather, last_words
from cdc.apply.session import is_poison, stream_error
from cdc.capture.buffer import Buffer
from cdc.capture.slot import Slot, judge
from cdc.change import Boundary, Change, Column, Relation, Transaction, lsn_number, lsn_text
from cdc.errors import SchemaChanged, SlotAhead, SlotLost, TargetRefused, Transient, WrongSource
from cdc.mapping import ConversionError
from cdc.streams import lag_ms

TX = Transaction(1, 1, datetime(2024, 1, 1, tzinfo=UTC))
RELATION = Relation(1, "public", "a", (Column("id", 20, key=True), Column("x", 25), Column("y", 25)))


class Table:
    """The smallest mapping: id → id, x → u, y → v."""

    direction = "both"
    names = {"id": "id", "x": "u", "y": "v"}
    part = None

    def makes(self, direction: str) -> bool:
        return True

    def source(self, direction: str) -> str:
        return "public.a" if direction == "forward" else "public.b"

    def target(self, direction: str) -> str:
        return "public.b" if direction == "forward" else "public.a"

    def key(self, direction: str) -> tuple[str, ...]:
        return ("id",)

    source_key = key

    def columns(self, direction: str) -> tuple[str, ...]:
        return tuple(self.names.values())

    def source_columns(self, direction: str) -> tuple[str, ...]:
        return tuple(self.names)

    def translate(self, row: Mapping[str, Any], direction: str) -> dict[str, Any]:
        return {self.names[name]: value for name, value in row.items() if name in self.names}


class Domain:
    domain = "toy"
    tables = (Table(),)


@pytest.fixture
def to() -> Routes:
    return routes(Domain(), "forward")


def change(op: Any, after: Any = None, before: Any = None, relation: Relation = RELATION) -> Change:
    return Change(op, TX, 1, relation, before, after)


def operations(to: Routes, *changes: Change) -> list[Operation]:
    return [operation(part, route) for c in changes for part, route in mapped(c, to)]


def kinds(to: Routes, *changes: Change) -> list[tuple[str, tuple[Any, ...], Any]]:
    return [(op.kind, op.key, op.row) for op in operations(to, *changes)]


def test_a_whole_row_is_an_upsert_whatever_the_op(to: Routes) -> None:
    row = {"id": 1, "x": "a", "y": None}
    for op in "cur":
        assert kinds(to, change(op, row)) == [("upsert", (1,), {"id": 1, "u": "a", "v": None})]


def test_a_row_without_an_unchanged_value_is_a_patch(to: Routes) -> None:
    assert kinds(to, change("u", {"id": 1, "x": "a"})) == [("patch", (1,), {"id": 1, "u": "a"})]


def test_a_changed_key_is_a_delete_and_an_insert(to: Routes) -> None:
    found = kinds(to, change("u", {"id": 2, "x": "a", "y": "b"}, {"id": 1}))
    assert found == [("delete", (1,), {}), ("upsert", (2,), {"id": 2, "u": "a", "v": "b"})]


def test_a_changed_key_with_an_unknown_value_moves_the_row(to: Routes) -> None:
    (move,) = operations(to, change("u", {"id": 2, "x": "a"}, {"id": 1}))
    assert (move.kind, move.old_key, move.key) == ("move", (1,), (2,))


def test_a_full_old_row_with_the_same_key_is_no_key_change(to: Routes) -> None:
    assert kinds(to, change("u", {"id": 1, "x": "a", "y": "b"}, {"id": 1, "x": "o", "y": "o"}))[0][0] == "upsert"


def test_an_insert_that_lacks_a_mapped_column_is_a_schema_change(to: Routes) -> None:
    with pytest.raises(SchemaChanged, match=r"public\.a no longer has y"):
        operations(to, change("c", {"id": 1, "x": "a"}))


def test_an_update_that_lacks_a_column_the_table_has_lost_is_a_schema_change(to: Routes) -> None:
    smaller = msgspec.structs.replace(RELATION, columns=RELATION.columns[:2])
    with pytest.raises(SchemaChanged, match=r"public\.a no longer has y"):
        operations(to, change("u", {"id": 1, "x": "a"}, relation=smaller))


def test_a_table_that_is_not_mapped_is_left_alone(to: Routes) -> None:
    assert mapped(change("c", {"id": 1}, relation=msgspec.structs.replace(RELATION, table="z")), to) == []


def test_runs_keep_the_order_of_kinds_and_the_last_row_of_a_key(to: Routes) -> None:
    row = {"id": 1, "x": "a", "y": "b"}
    runs = gather(
        operations(
            to, change("c", row), change("u", {**row, "x": "z"}), change("d", before={"id": 1}), change("c", row)
        )
    )
    assert [(r.kind, len(r)) for r in runs] == [("upsert", 1), ("delete", 1), ("upsert", 1)]
    assert runs[0].rows[(1,)]["u"] == "z"


def test_a_patch_of_a_row_in_hand_completes_it_and_others_group_by_columns(to: Routes) -> None:
    row = {"id": 1, "x": "a", "y": "b"}
    runs = gather(
        operations(
            to,
            change("c", row),
            change("u", {"id": 1, "x": "z"}),
            change("u", {"id": 2, "x": "q"}),
            change("u", {"id": 3, "y": "q"}),
        )
    )
    assert [(r.kind, r.columns) for r in runs] == [
        ("upsert", ("id", "u", "v")),
        ("patch", ("id", "u")),
        ("patch", ("id", "v")),
    ]
    assert runs[0].rows[(1,)] == {"id": 1, "u": "z", "v": "b"}


CHANGES = st.lists(
    st.one_of(
        st.builds(lambda k, x: change("c", {"id": k, "x": x, "y": x}), st.integers(0, 4), st.integers(0, 9)),
        st.builds(lambda k, x: change("u", {"id": k, "x": x}), st.integers(0, 4), st.integers(0, 9)),
        st.builds(lambda k: change("d", before={"id": k}), st.integers(0, 4)),
        st.builds(
            lambda k, n, x: change("u", {"id": n, "x": x, "y": x}, {"id": k}),
            st.integers(0, 4),
            st.integers(0, 4),
            st.integers(0, 9),
        ),
        st.just(change("t")),
    ),
    max_size=30,
)


@given(CHANGES)
def test_runs_leave_the_table_as_single_operations_would(changes: list[Change]) -> None:
    ops = operations(routes(Domain(), "forward"), *changes)
    one: dict[Any, Any] = {}
    for op in ops:
        _apply(one, op.kind, {op.key: op.row})
    batched: dict[Any, Any] = {}
    for run in gather(ops):
        _apply(batched, run.kind, run.rows)
    assert batched == one


WHOLE = st.lists(
    st.one_of(
        st.builds(lambda k, x: change("c", {"id": k, "x": x, "y": x}), st.integers(0, 4), st.integers(0, 9)),
        st.builds(lambda k: change("d", before={"id": k}), st.integers(0, 4)),
    ),
    max_size=30,
)


@given(st.one_of(WHOLE, CHANGES))
def test_last_words_leave_the_table_as_all_operations_would(changes: list[Change]) -> None:
    ops = operations(routes(Domain(), "forward"), *changes)
    one: dict[Any, Any] = {}
    for op in ops:
        _apply(one, op.kind, {op.key: op.row})
    batched: dict[Any, Any] = {}
    for run in gather(last_words(ops)):
        _apply(batched, run.kind, run.rows)
    assert batched == one


def test_whole_rows_that_come_and_go_many_times_are_one_delete_and_one_upsert(to: Routes) -> None:
    rows = [{"id": n % 3, "x": "a", "y": str(n)} for n in range(9)]
    changes = [one for row in rows for one in (change("d", before={"id": row["id"]}), change("c", row))]
    runs = gather(last_words(operations(to, *changes, change("d", before={"id": 0}))))
    assert [(run.kind, sorted(run.rows)) for run in runs] == [("delete", [(0,), (1,), (2,)]), ("upsert", [(1,), (2,)])]


def _apply(table: dict[Any, Any], kind: str, rows: Mapping[Any, Any]) -> None:
    if kind == "clear":
        table.clear()
        return
    for key, row in rows.items():
        if kind == "upsert":
            table[key] = dict(row)
        elif kind == "patch" and key in table:
            table[key] = {**table[key], **row}
        elif kind == "delete":
            table.pop(key, None)


@pytest.mark.parametrize(
    ("slot", "position", "refusal"),
    [
        (Slot("pgoutput", 100, "reserved", 200), 100, None),
        (Slot("pgoutput", 90, "extended", 200), 100, None),
        (Slot("pgoutput", 101, "reserved", 200), 100, SlotAhead),
        (Slot("pgoutput", 100, "lost", 200), 100, SlotLost),
        (Slot("test_decoding", 100, "reserved", 200), 100, SlotLost),
        (Slot("pgoutput", 100, "reserved", 99), 100, WrongSource),
        (None, 100, SlotLost),
    ],
)
def test_a_slot_is_resumed_only_from_the_targets_position(
    slot: Slot | None, position: int, refusal: type[Exception] | None
) -> None:
    found = judge("s", slot, position)
    assert (type(found) if found else None) == refusal


@pytest.mark.parametrize(
    ("error", "poison", "otherwise"),
    [
        (psycopg.errors.UniqueViolation(), True, None),
        (psycopg.errors.NumericValueOutOfRange(), True, None),
        (psycopg.errors.RaiseException(), True, None),
        (ConversionError("x"), True, None),
        (ValueError("a bug"), False, None),
        (psycopg.errors.DeadlockDetected(), False, Transient),
        (psycopg.errors.LockNotAvailable(), False, Transient),
        (psycopg.errors.AdminShutdown(), False, Transient),
        (psycopg.OperationalError("connection lost"), False, Transient),
        (psycopg.errors.UndefinedColumn(), False, SchemaChanged),
        (psycopg.errors.InsufficientPrivilege(), False, TargetRefused),
    ],
)
def test_an_error_is_about_a_row_or_passes_or_is_about_the_stream(
    error: Exception, poison: bool, otherwise: type[Exception] | None
) -> None:
    assert is_poison(error) == poison
    if otherwise is not None:
        assert isinstance(error, psycopg.Error)
        assert isinstance(stream_error(error), otherwise)


def test_a_full_buffer_takes_nothing_until_it_is_emptied() -> None:
    buffer = Buffer(max_events=1, max_bytes=10)
    event = Boundary(1, TX.commit_at)
    assert buffer.put([event], 5, 0)
    assert not buffer.put([event], 5, 0)
    assert buffer.take(0) == ([event], 5)
    assert buffer.put([event], 50, 0)
    buffer.fail(Transient("gone"))
    assert buffer.take(0) == ([event], 50)
    with pytest.raises(Transient):
        buffer.take(0)


@given(st.integers(0, 2**64 - 1))
def test_a_position_goes_through_text(lsn: int) -> None:
    assert lsn_number(lsn_text(lsn)) == lsn


def test_a_key_is_json_and_of_one_form() -> None:
    assert key_text((5, "a")) == '[5, "a"]'


def test_lag_is_measured_when_fresh_and_grows_when_the_stream_stands_still() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert lag_ms(start, start + timedelta(milliseconds=5), start + timedelta(seconds=1)) == 5
    assert lag_ms(start, start + timedelta(milliseconds=5), start + timedelta(seconds=60)) == 60000
    assert lag_ms(start + timedelta(seconds=1), start, start) == 0  # clocks apart
    assert lag_ms(None, None, start) is None
