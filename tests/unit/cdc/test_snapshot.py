"""Windows of a re-snapshot, ranges, limits and scopes: everything about snapshots that needs no server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.apply.route import Route, Routes
from cdc.capture.raw import UNCHANGED, Described, Raw, described
from cdc.change import Column, Relation, Transaction
from cdc.errors import ConfigError
from cdc.snapshot.ask import scope_of
from cdc.snapshot.chunks import Blocks, Heap, in_blocks, ranges
from cdc.snapshot.progress import Progress
from cdc.snapshot.requests import Key, Scope
from cdc.snapshot.sight import older, running, unseen
from cdc.snapshot.tap import Tap
from cdc.snapshot.window import Chunk, Seen, Window
from cdc.throttle import Limits, Load, Rate, too_busy, too_much_wal

TX = Transaction(7, 100, datetime(2026, 1, 1, tzinfo=UTC))
TABLE: Described = described(
    Relation(1, "public", "t", (Column("id", 23, key=True), Column("small", 25), Column("large", 25)))
)


class Same:
    """A mapping that changes nothing."""

    direction = "both"

    def translate(self, row: dict[str, Any], direction: str) -> dict[str, Any]:
        return dict(row)


NAMES = ("id", "small", "large")
ROUTE = Route("public.t", "public.t", ("id",), ("id",), frozenset(NAMES), NAMES, Same(), "forward", 3)  # type: ignore[arg-type]

ROUTES = Routes({ROUTE.source: ROUTE})

State = dict[int, tuple[bytes, bytes]]


def values(key: int, small: Any, large: Any) -> list[Any]:
    return [str(key).encode(), small, large]


KEYS = st.integers(0, 5)
TEXTS = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.one_of(
    st.tuples(st.just("write"), KEYS, TEXTS, TEXTS),
    st.tuples(st.just("part"), KEYS, TEXTS, TEXTS),
    st.tuples(st.just("delete"), KEYS, TEXTS, TEXTS),
    st.tuples(st.just("move"), KEYS, KEYS, TEXTS),
    st.tuples(st.just("move in part"), KEYS, KEYS, TEXTS),
    st.tuples(st.just("truncate"), KEYS, TEXTS, TEXTS),
)


def happen(source: State, step: tuple[Any, ...]) -> Raw | str | None:
    """What the step does to the source, and what capture says of it; None where it cannot happen."""
    kind, key, one, two = step
    if kind == "truncate":
        source.clear()
        return "truncate"
    if kind == "write":
        op = "u" if key in source else "c"
        source[key] = (one, two)
        return Raw(op, TX, 1, TABLE, values(key, one, two))  # type: ignore[arg-type]
    if key not in source:
        return None
    if kind == "delete":
        del source[key]
        return Raw("d", TX, 1, TABLE, None, values(key, None, None))
    if kind == "part":
        source[key] = (one, source[key][1])
        return Raw("u", TX, 1, TABLE, values(key, one, UNCHANGED))
    if one in source:
        return None
    small, large = source.pop(key)
    source[one] = (two, large)
    new = values(one, two, UNCHANGED if kind == "move in part" else large)
    return Raw("u", TX, 1, TABLE, new, values(key, None, None))


def apply(target: State, change: Raw | str, missing: set[int]) -> None:
    """The applier, with a table that is being read again: a partial update that finds no row does nothing."""
    if isinstance(change, str):
        target.clear()
        return
    if change.new is None:
        assert change.old is not None
        target.pop(int(change.old[0]), None)
        return
    key, (small, large) = int(change.new[0]), change.new[1:]
    was = target.pop(int(change.old[0]), None) if change.old is not None else target.get(key)
    if large is not UNCHANGED:
        target[key] = (small, large)
    elif was is not None:
        target[key] = (small, was[1])
    else:
        missing.add(key)


STATES = st.dictionaries(KEYS, st.tuples(TEXTS, TEXTS))


@settings(max_examples=400, deadline=None)
@given(STATES, STATES, st.lists(STEPS, max_size=8), st.lists(STEPS, max_size=8))
def test_after_a_window_the_target_is_as_the_source_whatever_it_was_and_whatever_was_written(
    source: State, target: State, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    """`target` has any damage there is; the chunk is read between the two lists of commits."""
    source, target = dict(source), dict(target)
    window, missing = Window(ROUTE), set[int]()

    def commit(steps: list[tuple[Any, ...]]) -> None:
        for step in steps:
            change = happen(source, step)
            if change is None:
                continue
            window.clear() if isinstance(change, str) else window.see(Seen.of(change, ROUTE))
            apply(target, change, missing)

    commit(before)
    rows = [values(key, *row) for key, row in source.items()]
    absent = [[str(key).encode()] for key in range(6) if key not in source]
    commit(after)
    for row in window.rows(Chunk(TABLE, rows, absent), TX):
        apply(target, row, missing)
    again = {key[0] for key, fate in window.touched.items() if fate == "again"}
    # What was moved in part is read again by key; so is what was moved between the marks before the chunk was read.
    assert {k: v for k, v in target.items() if k not in again} == {k: v for k, v in source.items() if k not in again}
    assert again <= set(range(6))


def test_a_row_that_the_stream_brought_meanwhile_is_not_overwritten_by_what_was_read_before() -> None:
    window = Window(ROUTE)
    window.see(Seen.of(Raw("u", TX, 1, TABLE, values(1, b"new", b"x")), ROUTE))
    rows = list(window.rows(Chunk(TABLE, [values(1, b"old", b"x"), values(2, b"old", b"x")]), TX))
    assert [row.new for row in rows] == [values(2, b"old", b"x")]


def test_a_key_written_in_another_way_is_the_same_key() -> None:
    table = described(
        Relation(1, "public", "t", (Column("id", 1700, key=True), Column("small", 25), Column("large", 25)))
    )
    window = Window(ROUTE)
    window.see(Seen.of(Raw("u", TX, 1, table, [b"1.0", b"new", b"x"]), ROUTE))
    assert list(window.rows(Chunk(table, [[b"1.00", b"old", b"x"]]), TX)) == []


@pytest.mark.parametrize(
    ("snapshot", "committed", "hidden"),
    [
        ("10:20:", [9, 15, 19], set()),
        ("10:20:12,15", [12, 15, 16], {12, 15}),
        ("10:20:", [20, 21], {20, 21}),
        ("4294967300:4294967310:4294967302", [6, 5, 14], {6, 14}),  # the second epoch: 4294967302 is 6
        ("4294967290:4294967298:", [4294967295, 1, 2], {2}),  # around the turn
    ],
)
def test_a_snapshot_that_does_not_see_what_the_stream_brought_is_known(
    snapshot: str, committed: list[int], hidden: set[int]
) -> None:
    assert unseen(snapshot, committed) == hidden
    assert running("10:20:12,15") == {12, 15}


def test_what_was_under_way_before_a_table_was_watched_is_told_by_its_number() -> None:
    assert older("10:20:12,15,19", 16) == {12, 15}
    assert older("4294967290:4294967310:4294967295,4294967298", 4294967298) == {4294967295}  # the last is 2


def test_a_row_moved_in_part_before_its_table_is_watched_is_read_again() -> None:
    """It may come from where the fill has not read yet, where the target has nothing to move, to where it has."""
    noted: list[tuple[str, Key]] = []
    tap = Tap(Mock(), ROUTES, Mock(feed=lambda events, size=0: []))
    tap.again = lambda source, keys: noted.extend((source, key) for key in keys)
    tap.fill({"public.t": False})
    tap.feed([Raw("u", TX, 1, TABLE, values(2, b"a", UNCHANGED), values(9, None, None))])
    tap.feed([Raw("u", TX, 1, TABLE, values(3, b"a", UNCHANGED))])
    assert noted == [("public.t", ("2",))]
    tap.filled("public.t")
    tap.feed([Raw("u", TX, 1, TABLE, values(4, b"a", UNCHANGED), values(8, None, None))])
    assert len(noted) == 1


def test_ranges_cover_a_heap_and_the_last_one_has_no_end() -> None:
    assert ranges(Heap(1, 5), 2) == [Blocks(0, 2), Blocks(2, 4), Blocks(4, None)]
    assert ranges(Heap(1, 0), 2) == [Blocks(0, None)]
    assert ranges(Heap(None, 500), 2) == [Blocks(0, None)]
    assert in_blocks(Blocks(2, 4)).as_string(None) == "t.ctid >= '(2,0)'::tid AND t.ctid < '(4,0)'::tid"
    assert in_blocks(Blocks(0, None)).as_string(None) == "true"


def test_a_busy_source_and_kept_wal_are_told_in_words() -> None:
    limits = Limits(active_sessions=10, standby_lag_s=5, wal_bytes=100 << 20)
    assert too_busy(Load(10, 5.0, 0, None), limits) is None
    assert "11 sessions are active" in (too_busy(Load(11, 0.0, 0, None), limits) or "")
    assert "6 s behind" in (too_busy(Load(0, 6.0, 0, None), limits) or "")
    assert too_much_wal(Load(0, 0.0, 100 << 20, None), limits) is None
    assert "101 MiB" in (too_much_wal(Load(0, 0.0, 101 << 20, None), limits) or "")
    # never more than half of what the server keeps before it gives a slot up
    assert "the limit is 32 MiB" in (too_much_wal(Load(0, 0.0, 50 << 20, 64 << 20), limits) or "")


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_a_rate_is_kept_to_but_for_one_second(parts: list[int]) -> None:
    rate, now = Rate(100), 50.0
    for rows in parts:
        now += rate.wait_s(rows, now)
    assert sum(parts) <= 100 * (now - 50.0) + 100 + max(parts) * 0.0001
    assert Rate(None).wait_s(10**9, 0.0) == 0.0


@pytest.mark.parametrize(
    "limits", [{"workers": 0}, {"workers": 99}, {"rows_per_s": 0}, {"chunk_rows": 1}, {"standby_lag_s": 0}]
)
def test_limits_out_of_bounds_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="snapshot_limits"):
        Limits(**limits)


def test_a_scope_is_read_as_a_person_writes_it() -> None:
    assert scope_of("5", None, None) == Scope(first=("5",))
    assert scope_of('["a", 5]', '["b", 7]', None) == Scope(("a", "5"), ("b", "7"))
    assert scope_of(None, None, "5, 7,5") == Scope(keys=(("5",), ("7",)))
    assert scope_of(None, None, '[["a", 5], ["b", 7]]') == Scope(keys=(("a", "5"), ("b", "7")))
    assert Scope.of(Scope(("a",), None, None).document()) == Scope(("a",))
    assert Scope.of(Scope(keys=(("5",),)).document()) == Scope(keys=(("5",),))
    with pytest.raises(ConfigError, match="give one of the two"):
        scope_of("5", None, "5")


def test_progress_tells_rate_and_time_left() -> None:
    now = [0.0]
    progress = Progress(expected=1000, clock=lambda: now[0])
    assert progress.document()["eta_s"] is None
    now[0] = 2.0
    progress.add(200)
    assert (progress.document()["rate"], progress.document()["eta_s"]) == (100.0, 8.0)
