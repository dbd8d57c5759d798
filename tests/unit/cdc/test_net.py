"""What a batch amounts to: the same table in the end as one change after the other, in PostgreSQL's own text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.apply.columns import Shapes, Unfit
from cdc.apply.net import Net, NotNet, by_known, key_of
from cdc.apply.route import Route, routes
from cdc.apply.texts import array, copy_text, literal
from cdc.capture.raw import UNCHANGED, Raw, Values, as_event, described
from cdc.change import Change, Column, Relation, Transaction
from cdc.mapping.converters import cents, enum, local_time
from cdc.mapping.table import DomainMapping, Rule, build
from cdc.snapshot.table import unescape

TX = Transaction(1, 1, datetime(2024, 1, 1, tzinfo=UTC))
TABLE = described(Relation(1, "public", "a", (Column("id", 20, key=True), Column("x", 25), Column("y", 25))))


def raw(op: Any, new: Values | None, old: Values | None = None) -> Raw:
    return Raw(op, TX, 1, TABLE, new, old)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[bytes, Values], list[Raw]]:
    """A table as it was, and changes that a database could make to it."""
    values = st.sampled_from([b"1", b"2", b"3", None])
    keys = [b"a", b"b", b"c", b"d"]
    before = {k: [k, draw(values), draw(values)] for k in draw(st.sets(st.sampled_from(keys)))}
    now = {k: list(v) for k, v in before.items()}
    changes: list[Raw] = []
    for _ in range(draw(st.integers(0, 25))):
        there, absent = sorted(now), [k for k in keys if k not in now]
        step = draw(st.sampled_from(["insert", "update", "patch", "delete", "move"]))
        if step == "insert" and absent:
            key = draw(st.sampled_from(absent))
            now[key] = [key, draw(values), draw(values)]
            changes.append(raw("c", list(now[key])))
        elif step == "update" and there:
            key = draw(st.sampled_from(there))
            now[key] = [key, draw(values), draw(values)]
            changes.append(raw("u", list(now[key])))
        elif step == "patch" and there:
            key = draw(st.sampled_from(there))
            now[key] = [key, draw(values), now[key][2]]
            changes.append(raw("u", [key, now[key][1], UNCHANGED]))
        elif step == "delete" and there:
            key = draw(st.sampled_from(there))
            del now[key]
            changes.append(raw("d", None, [key, None, None]))
        elif step == "move" and there and absent:
            key, to = draw(st.sampled_from(there)), draw(st.sampled_from(absent))
            now[to] = [to, *now.pop(key)[1:]]
            changes.append(raw("u", list(now[to]), [key, None, None]))
    return before, changes


@given(histories())
def test_a_net_leaves_the_table_as_the_changes_would(history: tuple[dict[bytes, Values], list[Raw]]) -> None:
    before, changes = history
    one = dict(before)
    for change in changes:
        if change.old is not None:
            one.pop(change.old[0], None)
        if change.new is not None:
            known = one.get(change.new[0], change.new)
            one[change.new[0]] = [b if a is UNCHANGED else a for a, b in zip(change.new, known, strict=True)]
    net = Net(key_of([0]))
    net.add_all(changes)
    table = dict(before)
    for key in net.gone:
        table.pop(key, None)
    for key, row in net.part.items():
        assert key in table, "a partial row is written onto one that is there"
        table[key] = [b if a is UNCHANGED else a for a, b in zip(row, table[key], strict=True)]
    table.update(net.whole)
    for key, row in net.new.items():
        assert key not in table, "a new row may be copied straight into the table"
        table[key] = row
    assert table == one


def test_a_bulk_load_is_new_rows_only_and_a_key_twice_is_not_new() -> None:
    net = Net(key_of([0]))
    net.add_all([raw("c", [b"%d" % n, b"x", None]) for n in range(5)])
    assert (len(net.new), len(net.whole)) == (5, 0)
    net = Net(key_of([0]))
    net.add_all([raw("c", [b"1", b"x", None]), raw("c", [b"1", b"y", None])])
    assert list(net.new.values()) == [[b"1", b"y", None]]


def test_a_moved_row_that_is_not_wholly_known_needs_the_order_of_changes() -> None:
    with pytest.raises(NotNet):
        Net(key_of([0])).add("u", [b"2", b"x", UNCHANGED], [b"1", None, None])


def test_partial_rows_are_written_by_the_columns_that_they_have() -> None:
    rows = [[b"1", UNCHANGED, b"y"], [b"2", b"x", UNCHANGED], [b"3", UNCHANGED, None]]
    assert by_known(rows) == {(0, 2): [rows[0], rows[2]], (0, 1): [rows[1]]}


def test_a_raw_row_is_the_change_that_it_stands_for() -> None:
    row = raw("u", [b"5", UNCHANGED, None], [b"4", None, None])
    assert as_event(row) == Change("u", TX, 1, TABLE.relation, {"id": 4}, {"id": 5, "y": None})


TEXTS = st.one_of(
    st.none(), st.binary(max_size=6), st.sampled_from([b"\\N", b"\\.", b"\t", b"a\nb", b"\r", b"\\", b""])
)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8))
def test_any_values_go_through_copys_text(rows: list[tuple[bytes | None, bytes | None]]) -> None:
    text = copy_text(list(zip(*rows, strict=True)), len(rows))
    lines = text.removesuffix(b"\n").split(b"\n")
    found = [tuple(None if v == b"\\N" else unescape(v) for v in line.split(b"\t")) for line in lines]
    assert found == rows


def test_a_literal_ends_where_its_value_ends() -> None:
    assert [literal(v) for v in (None, b"a", b"it's '", b"\\'")] == [b"NULL", b"'a'", b"'it''s '''", b"'\\'''"]


def test_an_array_takes_what_would_end_its_elements() -> None:
    assert array([b"a", None, b'"', b"\\", b"it's", b"NULL", b""]) == b"""'{"a",NULL,"\\"","\\\\","it''s","NULL",""}'"""


def shapes(*rules: Rule, types: dict[str, str]) -> tuple[Shapes, Route]:
    table = build("public.a", "public.b", "both", (("id",), ("id",)), (None, None), (Rule(("id",), ("id",)), *rules))
    (route,) = routes(DomainMapping("toy", (table,)), "forward").by_source.values()
    return Shapes(route, {"id": "int8", **types}, {}, lambda value: str(value).encode()), route


def test_copied_columns_are_not_read_and_converted_ones_are() -> None:
    table = described(
        Relation(
            1, "public", "a",
            (Column("id", 20, key=True), Column("n", 23), Column("s", 1042), Column("at", 1114), Column("t", 25)),
        )
    )  # fmt: skip
    made, _ = shapes(
        Rule(("n",), ("amount",), cents()),
        Rule(("s",), ("state",), enum(values={"A": "active"})),
        Rule(("at",), ("since",), local_time(zone="Europe/Amsterdam")),
        Rule(("t",), ("text",)),
        types={"amount": "numeric", "state": "text", "since": "timestamptz", "text": "varchar"},
    )
    shape = made.of(table)
    rows = [[b"1", b"150", b"A", b"2024-07-01 12:00:00", b"not \xff read"], [b"2", None, None, None, None]]
    columns = dict(zip(shape.targets, shape.columns(rows), strict=True))
    assert columns == {
        "id": (b"1", b"2"),
        "amount": [b"1.50", None],
        "state": [b"active", None],
        "since": [b"2024-07-01 10:00:00+00", None],
        "text": (b"not \xff read", None),
    }
    with pytest.raises(Unfit, match="'Z' is not one of"):
        shape.columns([[b"1", b"1", b"Z", b"2024-07-01 12:00:00", b""]])


@pytest.mark.parametrize(
    ("oid", "target", "as_it_is"),
    [
        (25, "text", True), (1043, "text", True), (1042, "varchar", True), (23, "int8", True), (23, "numeric", True),
        (3802, "json", True), (16, "bool", True), (1007, "_int4", True), (70000, "mood", True),
        (16, "text", False), (701, "numeric", False), (1114, "timestamptz", False), (1082, "text", False),
    ],
)  # fmt: skip
def test_a_text_is_given_on_as_it_is_only_where_it_means_the_same(oid: int, target: str, as_it_is: bool) -> None:
    table = described(Relation(1, "public", "a", (Column("id", 20, key=True), Column("v", oid))))
    shape = shapes(Rule(("v",), ("w",)), types={"w": target})[0].of(table)
    assert (len(shape.copies) == 2) == as_it_is


def test_a_table_that_lost_a_mapped_column_does_not_go_by_columns() -> None:
    table = described(Relation(1, "public", "a", (Column("id", 20, key=True),)))
    with pytest.raises(Unfit):
        shapes(Rule(("v",), ("w",)), types={"w": "text"})[0].of(table)
