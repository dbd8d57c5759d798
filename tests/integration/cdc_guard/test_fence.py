"""The fence stops a wave's writes at one moment, or changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from cdc.guard.errors import FenceTimeout, GuardError, OwnershipChanged
from cdc.guard.ownership import REFUSED, Ownership, fence, read_ownership, set_owner

Connect = Callable[..., "psycopg.Connection[Any]"]


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        threading.Event().wait(0.005)
    raise AssertionError("it did not happen in time")


def waits(connection: psycopg.Connection[Any], pid: int) -> bool:
    row = connection.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
    return row == ("Lock",)


def owner(connection: psycopg.Connection[Any], wave: int = 0) -> tuple[str, int]:
    row = read_ownership(connection, "shop")[wave]
    return row.owner, row.epoch


class TestFence:
    def test_it_makes_the_wave_moving_with_the_next_epoch(self, shop: psycopg.Connection[Any]) -> None:
        before = shop.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        fenced = fence(shop, "shop", 0, 1, 300)
        assert fenced.epoch == 2
        assert read_ownership(shop, "shop") == (Ownership("shop", 0, 0, 1024, "moving", 2),)
        assert before is not None
        assert shop.execute("SELECT %s::pg_lsn > %s::pg_lsn", (fenced.lsn, before[0])).fetchone() == (True,)

    def test_its_marker_comes_behind_the_writes_that_were_let_in(self, shop: psycopg.Connection[Any]) -> None:
        shop.execute("SELECT pg_create_logical_replication_slot('marker', 'pgoutput')")
        shop.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        try:
            shop.execute("INSERT INTO note VALUES (1, 1)")
            fence(shop, "shop", 0, 1, 300)
            rows = shop.execute(
                "SELECT data FROM pg_logical_slot_peek_binary_changes('marker', NULL, NULL, 'proto_version', '1',"
                " 'publication_names', 'everything', 'messages', 'true')"
            ).fetchall()
        finally:
            shop.execute("SELECT pg_drop_replication_slot('marker')")
        kinds = [bytes(data)[:1] for (data,) in rows]
        assert kinds.index(b"I") < kinds.index(b"M")
        marker = next(bytes(data) for (data,) in rows if bytes(data)[:1] == b"M")
        assert b"banyan.fence" in marker
        assert b'"epoch": 2' in marker

    def test_it_waits_for_the_writers_that_are_under_way(self, shop, connect: Connect) -> None:
        writer, control = connect(autocommit=False), connect()
        writer.execute("UPDATE item SET qty = 5 WHERE id = 1")
        with ThreadPoolExecutor(1) as pool:
            fencing = pool.submit(fence, control, "shop", 0, 1, 900)
            until(lambda: waits(shop, control.info.backend_pid))
            written = writer.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            writer.commit()
            fenced = fencing.result(10)
        assert shop.execute("SELECT %s::pg_lsn > %s::pg_lsn", (fenced.lsn, written[0])).fetchone() == (True,)

    def test_a_write_that_comes_during_it_waits_and_is_refused(self, shop, connect: Connect) -> None:
        control, writer = connect(autocommit=False), connect()
        control.execute("SELECT banyan.fence('shop', 0, 1, 300)")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(writer.execute, "UPDATE item SET qty = 5 WHERE id = 1")
            until(lambda: waits(shop, writer.info.backend_pid))
            control.commit()
            with pytest.raises(psycopg.Error) as refused:
                writing.result(10)
        assert refused.value.sqlstate == REFUSED
        assert shop.execute("SELECT qty FROM item WHERE id = 1").fetchone() == (0,)

    def test_a_fence_that_is_rolled_back_never_was(self, shop, connect: Connect) -> None:
        control = connect(autocommit=False)
        control.execute("SELECT banyan.fence('shop', 0, 1, 300)")
        control.rollback()
        assert owner(shop) == ("legacy", 1)
        assert shop.execute("UPDATE item SET qty = 5").rowcount == 100

    def test_on_a_lock_timeout_nothing_has_changed_and_writers_go_on(self, shop, connect: Connect) -> None:
        writer = connect(autocommit=False)
        writer.execute("INSERT INTO note VALUES (1, 1)")  # the second table in the fence's order
        started = time.monotonic()
        with pytest.raises(FenceTimeout, match="try again"):
            fence(shop, "shop", 0, 1, 150)
        assert time.monotonic() - started < 2
        assert owner(shop) == ("legacy", 1)
        writer.execute("UPDATE item SET qty = 5")
        writer.commit()
        assert fence(shop, "shop", 0, 1, 300).epoch == 2

    def test_two_writers_in_opposite_order_make_the_fence_give_way_not_them(self, shop, connect: Connect) -> None:
        writer = connect(autocommit=False)
        writer.execute("INSERT INTO note VALUES (1, 1)")
        control = connect()
        with ThreadPoolExecutor(2) as pool:
            fencing = pool.submit(fence, control, "shop", 0, 1, 300)  # has item, waits for note
            until(lambda: waits(shop, control.info.backend_pid))
            writing = pool.submit(writer.execute, "UPDATE item SET qty = 6")  # has note, waits for item
            with pytest.raises(FenceTimeout):
                fencing.result(10)
            assert writing.result(10).rowcount == 100
        writer.commit()
        assert owner(shop) == ("legacy", 1)

    def test_one_wave_is_fenced_and_the_other_goes_on(self, chain: psycopg.Connection[Any]) -> None:
        fence(chain, "shop", 1, 1, 300)
        assert (owner(chain, 0), owner(chain, 1)) == (("legacy", 1), ("moving", 2))


class TestRefusals:
    @pytest.mark.parametrize("epoch", [0, 2, 99])
    def test_another_epoch_than_expected(self, shop: psycopg.Connection[Any], epoch: int) -> None:
        with pytest.raises(OwnershipChanged, match=r"is owned by legacy \(epoch 1\)"):
            fence(shop, "shop", 0, epoch, 300)
        assert owner(shop) == ("legacy", 1)

    def test_a_second_fence(self, shop: psycopg.Connection[Any]) -> None:
        fence(shop, "shop", 0, 1, 300)
        with pytest.raises(OwnershipChanged, match="moving"):
            fence(shop, "shop", 0, 2, 300)

    @pytest.mark.parametrize(("domain", "wave"), [("shop", 7), ("nowhere", 0)])
    def test_an_unknown_wave_or_domain(self, shop: psycopg.Connection[Any], domain: str, wave: int) -> None:
        with pytest.raises(OwnershipChanged, match="does not exist here"):
            fence(shop, domain, wave, 1, 300)

    @pytest.mark.parametrize("timeout", [0, -5, 1000, 60_000])
    def test_a_lock_timeout_that_could_end_in_a_deadlock(self, shop: psycopg.Connection[Any], timeout: int) -> None:
        with pytest.raises(GuardError, match="from 1 to 999 ms"):
            fence(shop, "shop", 0, 1, timeout)

    def test_an_open_transaction(self, shop, connect: Connect) -> None:
        control = connect(autocommit=False)
        control.execute("SELECT 1")
        with pytest.raises(GuardError, match="commit first"):
            fence(control, "shop", 0, 1, 300)

    def test_a_database_without_guard(self, connect: Connect) -> None:
        with pytest.raises(GuardError, match="banyan prepare"):
            read_ownership(connect(), "shop")


class TestSetOwner:
    def test_the_way_there(self, shop: psycopg.Connection[Any]) -> None:
        fence(shop, "shop", 0, 1, 300)
        assert set_owner(shop, "shop", 0, "service", 2, 2) == 2
        assert owner(shop) == ("service", 2)

    def test_an_abort_gives_the_wave_back(self, shop: psycopg.Connection[Any]) -> None:
        fence(shop, "shop", 0, 1, 300)
        assert set_owner(shop, "shop", 0, "legacy", 2, 2) == 2
        assert shop.execute("UPDATE item SET qty = 1").rowcount == 100

    def test_the_way_back_needs_no_fence_here_but_at_the_other_side(self, shop: psycopg.Connection[Any]) -> None:
        fence(shop, "shop", 0, 1, 300)
        set_owner(shop, "shop", 0, "service", 2, 2)
        assert set_owner(shop, "shop", 0, "legacy", 2, 3) == 3
        assert shop.execute("UPDATE item SET qty = 1").rowcount == 100

    def test_saying_it_twice_changes_nothing(self, shop: psycopg.Connection[Any]) -> None:
        fence(shop, "shop", 0, 1, 300)
        set_owner(shop, "shop", 0, "service", 2, 2)
        assert set_owner(shop, "shop", 0, "service", 2, 2) == 2

    @pytest.mark.parametrize(
        ("owner_", "expected", "new", "says"),
        [
            ("service", 1, 2, "still takes writes here"),
            ("service", 5, 6, r"is owned by legacy \(epoch 1\)"),
            ("legacy", 1, 0, "never falls"),
            ("moving", 1, 2, "legacy or service"),
            ("nobody", 1, 2, "legacy or service"),
        ],
    )
    def test_what_it_refuses(self, shop: psycopg.Connection[Any], owner_, expected, new, says) -> None:
        with pytest.raises(GuardError, match=says):
            set_owner(shop, "shop", 0, owner_, expected, new)
        assert owner(shop) == ("legacy", 1)


def test_under_load_no_write_lands_between_fence_and_release(shop, connect: Connect) -> None:
    """Eight writers, half of them REPEATABLE READ, commit all the time; the wave is fenced and given back 20 times."""
    stop = threading.Event()
    accepted: list[int] = []

    def write(number: int) -> None:
        writer = connect(autocommit=False)
        if number % 2:
            writer.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        count = 0
        while not stop.is_set():
            try:
                writer.execute("SELECT count(*) FROM banyan.ownership")  # takes the snapshot
                writer.execute("INSERT INTO note VALUES (%s, 1)", (number * 1_000_000 + count,))
                writer.commit()
                count += 1
            except psycopg.Error as error:
                writer.rollback()
                if error.sqlstate not in (REFUSED, "40001"):
                    raise
        accepted.append(count)

    count_notes = "SELECT count(*) FROM note"
    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, number) for number in range(1, 9)]
        try:
            until(lambda: shop.execute(count_notes).fetchone()[0] > 50)
            epoch, fenced = 1, 0
            deadline = time.monotonic() + 30
            while fenced < 20 and time.monotonic() < deadline:
                try:
                    epoch = fence(shop, "shop", 0, epoch, 300).epoch
                except FenceTimeout:
                    continue
                fenced += 1
                at_fence = shop.execute(count_notes).fetchone()
                for _ in range(20):
                    assert shop.execute(count_notes).fetchone() == at_fence
                set_owner(shop, "shop", 0, "legacy", epoch, epoch)
        finally:
            stop.set()
        for writer in writers:
            writer.result(10)
    assert fenced == 20
    assert shop.execute(count_notes).fetchone() == (sum(accepted),)
