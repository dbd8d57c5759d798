"""Which keys a window must leave out: by what each snapshot shows, and within bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdc.change import Boundary, Change, Relation, Transaction
from cdc.verify import ring as rings
from cdc.verify.ring import Ring, Touched, touch_key
from cdc.verify.snapshot import Snapshot
from cdc.verify.touches import Collector

AT = datetime(2026, 1, 1, tzinfo=UTC)
ALL = Snapshot(1000, frozenset())


def keys(*numbers: int) -> dict[str, set[rings.Key] | None]:
    return {"public.item": {(str(number),) for number in numbers}}


def covered(touched: Touched, upto: int = 20) -> set[int]:
    return {n for n in range(upto) if touched.covers("public.item", (n,))}


class TestSnapshot:
    def test_it_shows_what_ended_before_it_but_not_who_is_under_way_nor_who_came_later(self) -> None:
        snapshot = Snapshot.parse("10:15:10,12")
        assert [xid for xid in range(8, 18) if snapshot.sees(xid)] == [8, 9, 11, 13, 14]

    def test_transaction_numbers_go_round(self) -> None:
        snapshot = Snapshot.parse(f"{2**32 - 2}:{2**32 + 3}:{2**32 + 1}")
        assert [snapshot.sees(xid) for xid in (2**32 - 3, 2**32 - 1, 0, 1, 2, 3)] == [
            True,
            True,
            True,
            False,
            True,
            False,
        ]


class TestRing:
    def test_only_what_one_side_shows_and_the_other_may_not_is_touched(self) -> None:
        ring = Ring()
        ring.add(1, 100, keys(1))  # seen and applied
        ring.add(2, 200, keys(2))  # not seen, applied
        ring.add(3, 300, keys(3))  # seen, not applied
        assert covered(ring.between(Snapshot(1000, frozenset({2})), applied=250)) == {2, 3}

    def test_what_is_through_is_forgotten(self) -> None:
        ring = Ring()
        ring.add(1, 100, keys(1))
        ring.forget(ALL, 100)
        assert covered(ring.between(Snapshot(0, frozenset()), 0)) == set()

    def test_one_that_is_too_small_says_so_until_what_it_dropped_is_through(self) -> None:
        ring = Ring(limit=2)
        for number in range(4):
            ring.add(number, 100 * number, keys(number))
        assert ring.dropped == 2
        assert ring.between(Snapshot(1000, frozenset()), 50).lost
        assert ring.between(Snapshot(1000, frozenset({1})), 350).lost
        assert not ring.between(ALL, 350).lost

    @given(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=40), st.integers(0, 400), st.integers(1, 6)
    )
    def test_of_any_history_nothing_that_is_under_way_is_missed(
        self, history: list[tuple[int, int]], applied: int, limit: int
    ) -> None:
        ring, snapshot = Ring(limit), Snapshot(20, frozenset({3, 7}))
        for number, (xid, key) in enumerate(history):
            ring.add(xid, number * 10, keys(key))
        touched = ring.between(snapshot, applied)
        for number, (xid, key) in enumerate(history):
            if number * 10 > applied or not snapshot.sees(xid):
                assert touched.covers("public.item", (key,))

    def test_a_whole_table_covers_every_key_of_it(self) -> None:
        ring = Ring()
        ring.add(1, 100, {"public.item": None})
        ring.add(2, 200, keys(3))
        touched = Touched.union([ring.between(ALL, 0), Touched({})])
        assert touched.covers("public.item", (77,))
        assert not touched.covers("public.line", (77,))


class TestKeys:
    def test_the_same_key_is_the_same_text_however_it_was_read(self) -> None:
        there = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
        assert touch_key(["A  ", Decimal("1.50"), AT]) == touch_key(["A", Decimal("1.5"), there])


class TestCollector:
    def test_inserts_updates_deletes_and_changed_keys_touch_both_old_and_new(self, monkeypatch: Any) -> None:
        ring = Ring()
        relation = Relation(1, "public", "product", ())
        collector = Collector(ring, {"public.product": (("public.item", ("id",)),)})
        tx = Transaction(5, 90, AT)

        def change(op: Any, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Change:
            return Change(op, tx, 80, relation, before, after)

        collector.feed(
            [
                change("c", None, {"id": 1}),
                change("u", {"id": 2}, {"id": 3}),
                change("d", {"id": 4}, None),
                Change("c", tx, 80, Relation(2, "public", "other", ()), None, {"id": 9}),
            ]
        )
        assert covered(ring.between(ALL, 0)) == set(), "it has not ended yet"
        collector.feed([Boundary(100, AT)])
        assert covered(ring.between(ALL, 0)) == {1, 2, 3, 4}
        assert collector.position == 100

    def test_a_truncate_and_a_transaction_of_very_many_rows_touch_the_table(self, monkeypatch: Any) -> None:
        monkeypatch.setattr("cdc.verify.touches.KEYS_PER_TRANSACTION", 3)
        relation = Relation(1, "public", "item", ())
        tables = {"public.item": (("public.item", ("id",)),)}
        for changes in (
            [Change("t", Transaction(1, 90, AT), 80, relation)],
            [Change("c", Transaction(1, 90, AT), 80, relation, None, {"id": n}) for n in range(5)],
        ):
            ring = Ring()
            Collector(ring, tables).feed([*changes, Boundary(100, AT)])
            assert covered(ring.between(ALL, 0)) == {*range(20)}
