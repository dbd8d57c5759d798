"""Windows between two living sides with real streams: every planted row is found, and no row that is only under way."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from cdc.guard.errors import FenceTimeout
from cdc.guard.install import install
from cdc.guard.ownership import fence, set_owner
from cdc.verify import Carrier, Patience, Report, VerifyError, verify
from cdc.verify.ring import Touched
from cdc.verify.run import opened
from cdc.verify.snapshot import Snapshot
from cdc.verify.table import Comparing
from cdc.verify.window import Stalled, Windows
from tests.integration.cdc.toy import Shop, execute, one, until

ROWS = 6_000
FILL = """
INSERT INTO item SELECT n, 'c' || n, 'name ' || n, n, CASE WHEN n %% 3 = 0 THEN 'note' END, 'A'
  FROM generate_series(1, %(rows)s) n
"""
QUICK = Patience(wait_s=0.5, rounds=3)


def compare(shop: Shop, *directions: str, **options) -> Report:
    options = {"carriers": carriers(shop, *directions), "chunk_rows": 1_000, **options}
    return verify(shop.legacy, shop.service, shop.mapping, **options)


def keys(report: Report, kind: str) -> set[int]:
    return {found.key["id"] for table in report.tables for found in table.drifted if found.kind == kind}


@contextmanager
def writing(dsn: str, write: Callable[[psycopg.Connection, random.Random], None]) -> Iterator[list[int]]:
    """Writes without a pause until the block ends; says how often."""
    stop, count = threading.Event(), [0]
    failures: list[BaseException] = []

    def work() -> None:
        dice = random.Random(7)
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                while not stop.is_set():
                    write(connection, dice)
                    count[0] += 1
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join(20)
        assert not failures, failures


def write_items(connection: psycopg.Connection, dice: random.Random) -> None:
    """Changed, deleted and new rows, in transactions of one to three, some of them hot."""
    with connection.transaction():
        for _ in range(dice.randint(1, 3)):
            key = dice.choice([dice.randint(1, 10), dice.randint(1, ROWS)]) * 2  # odd ones are left alone
            kind = dice.random()
            if kind < 0.6:
                connection.execute("UPDATE item SET price_cents = %s WHERE id = %s", [dice.randint(0, 10**6), key])
            elif kind < 0.8:
                connection.execute("INSERT INTO item VALUES (%s, NULL, 'x', 1) ON CONFLICT DO NOTHING", [key])
            else:
                connection.execute("DELETE FROM item WHERE id = %s", [key])


@pytest.fixture
def filled(shop: Shop) -> Shop:
    execute(shop.legacy, FILL, {"rows": ROWS})
    shop.streaming("forward")
    return shop


class TestUnderWrites:
    def test_all_of_a_hundred_planted_rows_are_found_and_none_besides(self, filled: Shop) -> None:
        odd = [*range(1, ROWS, 2)]
        random.Random(3).shuffle(odd)
        changed, missing, extra = odd[:34], odd[34:67], [ROWS * 3 + 2 * n + 1 for n in range(33)]
        execute(filled.service, "UPDATE product SET note = coalesce(note, '') || ' ' WHERE id = ANY (%s)", [changed])
        execute(filled.service, "DELETE FROM product WHERE id = ANY (%s)", [missing])
        execute(
            filled.service,
            "INSERT INTO product SELECT n, NULL, 'x', 1, NULL, 'active' FROM unnest(%s::int[]) n",
            [extra],
        )
        with writing(filled.legacy, write_items) as count:
            for _ in range(3):
                report = compare(filled, "forward")
                assert keys(report, "different") == set(changed)
                assert keys(report, "missing") == set(missing)
                assert keys(report, "extra") == set(extra)
                assert (report.drift, report.unsettled, report.stalled) == (100, 0, ())
            until(lambda: count[0] > 300, "writes")

    def test_a_slow_applier_is_waited_for_and_its_rows_are_not_drift(self, filled: Shop) -> None:
        execute(
            filled.service,
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END $$",
        )
        execute(
            filled.service,
            "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON product FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        execute(filled.service, "ALTER TABLE product ENABLE ALWAYS TRIGGER slow")
        with writing(filled.legacy, lambda c, dice: (write_items(c, dice), threading.Event().wait(0.01))) as count:
            until(lambda: count[0] > 20, "writes")
            report = compare(filled, "forward")
        assert (report.drift, report.unsettled) == (0, 0), report

    def test_a_commit_that_is_in_the_log_but_not_yet_visible_is_under_way(self, filled: Shop) -> None:
        """Its fsync, or a standby, lies between: the applier may have brought what the source does not show yet."""
        with opened_shop(filled, "forward") as windows, ThreadPoolExecutor(3) as pool:
            windows.listen("forward")
            execute(filled.legacy, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            execute(filled.legacy, "SELECT pg_reload_conf()")
            try:
                hanging = pool.submit(execute, filled.legacy, "UPDATE item SET name = 'new' WHERE id = 5")
                until(lambda: one(filled.service, "SELECT 1 FROM product WHERE id = 5 AND name = 'new'"), "the applier")
                assert one(filled.legacy, "SELECT name FROM item WHERE id = 5") == "name 5"
                report = comparing(filled, windows, pool, rounds=2).run()
                assert (report.drift, report.unsettled, report.rechecked) == (0, 1, 2)
            finally:
                execute(filled.legacy, "ALTER SYSTEM RESET synchronous_standby_names")
                execute(filled.legacy, "SELECT pg_reload_conf()")
            hanging.result(10)
            assert comparing(filled, windows, pool).run().clean

    def test_a_ring_that_is_too_small_judges_nothing_until_it_is_quiet(self, filled: Shop) -> None:
        execute(filled.service, "UPDATE product SET name = 'drift' WHERE id = 7")
        with opened_shop(filled, "forward", ring_keys=3) as windows, ThreadPoolExecutor(2) as pool:
            windows.listen("forward")
            with psycopg.connect(filled.service) as blocker:
                blocker.execute("LOCK TABLE product IN SHARE MODE")  # the stream stands still while much is written
                execute(filled.legacy, "UPDATE item SET price_cents = 1 WHERE id BETWEEN 100 AND 120")
                execute(filled.legacy, "UPDATE item SET price_cents = 2 WHERE id = 7000")
                lsn = windows.mark("legacy")
                touches = windows._touches["forward"]
                touches.require_past(lsn, 5)
                assert touches.ring.dropped == 1
                with pytest.raises(Stalled), windows.open(filled.mapping.tables[0]):
                    pytest.fail("nothing can be said while it stands still")
            snapshot = Snapshot.parse(one(filled.legacy, "SELECT pg_current_snapshot()::text"))
            assert windows.since("forward", snapshot, 0).lost
            filled.caught_up()
            report = comparing(filled, windows, pool).run()
        assert [str(found) for found in report.drifted] == ["public.item id=7: differs in name"]

    def test_without_the_ring_the_keys_under_way_would_be_called_drift(self, filled: Shop, monkeypatch) -> None:
        """What the other tests rest on: there is something to leave out."""
        monkeypatch.setattr(Touched, "covers", lambda *_: False)
        with writing(filled.legacy, write_items):
            until(lambda: compare(filled, "forward").drift > 0, "a false report")


class TestStalled:
    def test_a_stream_that_stands_still_settles_nothing_and_is_named(self, filled: Shop) -> None:
        filled.running[0].stop()
        execute(filled.legacy, "UPDATE item SET name = 'new' WHERE id = 3")
        report = compare(filled, "forward", patience=QUICK)
        assert (report.clean, report.drift, report.stalled) == (False, 0, ("shop.forward",))
        assert report.unsettled > 0

    def test_a_stream_that_nobody_told_of_is_asked_for(self, filled: Shop) -> None:
        with pytest.raises(VerifyError, match=r"stream shop\.forward runs"):
            compare(filled)


class TestOwnership:
    def test_a_switch_and_a_way_back_while_both_sides_are_compared_give_no_false_report(self, filled: Shop) -> None:
        for dsn, side in ((filled.legacy, "legacy"), (filled.service, "service")):
            with psycopg.connect(dsn, autocommit=True) as connection:
                install(connection, filled.mapping, side)
        filled.streaming("reverse")
        reports: list[Report] = []
        with (
            writing(filled.legacy, at_owner(write_items)),
            writing(filled.service, at_owner(write_products)),
            ThreadPoolExecutor(1) as pool,
        ):
            for epoch in range(1, 7):
                comparison = pool.submit(compare, filled, "forward", "reverse", chunk_rows=300)
                until(comparison.running, "the comparison")
                switch(filled, *(("legacy", "service") if epoch % 2 else ("service", "legacy")), epoch)
                reports.append(comparison.result(30))
        assert [report.drift for report in reports] == [0] * 6, [str(s) for r in reports for s in r.samples]
        assert [report.unsettled for report in reports] == [0] * 6
        assert one(filled.service, "SELECT count(*) FROM product WHERE name = 'at the service'") > 0
        for dsn in (filled.legacy, filled.service):
            assert one(dsn, "SELECT count(*) FROM banyan.foreign_write") == 0, "a writer at its own side is not foreign"

    def test_with_the_service_as_owner_drift_is_found_against_its_rows(self, filled: Shop) -> None:
        filled.streaming("reverse")
        for dsn, side in ((filled.legacy, "legacy"), (filled.service, "service")):
            with psycopg.connect(dsn, autocommit=True) as connection:
                install(connection, filled.mapping, side)
        switch(filled, "legacy", "service", 1)
        with psycopg.connect(filled.legacy, autocommit=True) as foreign:
            foreign.execute("ALTER TABLE item DISABLE TRIGGER ALL")
            foreign.execute("SET session_replication_role = replica")
            foreign.execute("SELECT pg_replication_origin_create('somebody')")
            foreign.execute("SELECT pg_replication_origin_session_setup('somebody')")
            foreign.execute("DELETE FROM item WHERE id = 11")
            foreign.execute("SELECT pg_replication_origin_session_reset(), pg_replication_origin_drop('somebody')")
            foreign.execute("ALTER TABLE item ENABLE ALWAYS TRIGGER banyan_guard")
        with writing(filled.service, write_products):
            report = compare(filled, "forward", "reverse")
        assert [str(found) for found in report.samples] == ["public.item id=11: only at the service"]


def at_owner(write: Callable[[psycopg.Connection, random.Random], None]):
    """Writes where the guard lets it, and is turned away elsewhere."""

    def attempt(connection: psycopg.Connection, dice: random.Random) -> None:
        try:
            write(connection, dice)
        except psycopg.Error as error:
            if error.sqlstate not in ("BN421", "40001", "40P01"):
                raise

    return attempt


def write_products(connection: psycopg.Connection, dice: random.Random) -> None:
    key = dice.choice([dice.randint(1, 10), dice.randint(1, ROWS)]) * 2
    connection.execute(
        "UPDATE product SET name = 'at the service', price = %s WHERE id = %s", [dice.randint(0, 99), key]
    )


def switch(shop: Shop, source: str, target: str, epoch: int) -> None:
    """As design §5 has it."""
    direction = "forward" if source == "legacy" else "reverse"
    sides = {"legacy": shop.legacy, "service": shop.service}
    with psycopg.connect(sides[source], autocommit=True) as old, psycopg.connect(sides[target], autocommit=True) as new:
        fenced = until(lambda: attempted(old, epoch), "the fence")
        arrived = "SELECT 1 FROM banyan.fence_applied WHERE stream = %s AND epoch = %s"
        until(lambda: one(sides[target], arrived, [f"shop.{direction}", fenced]), "the fence's marker")
        set_owner(new, "shop", 0, target, epoch, fenced)
        set_owner(old, "shop", 0, target, fenced, fenced)


def attempted(owner: psycopg.Connection, epoch: int) -> int | None:
    try:
        return fence(owner, "shop", 0, epoch, 300).epoch
    except FenceTimeout:
        return None


def carriers(shop: Shop, *directions: str) -> dict[str, Carrier]:
    return {d: Carrier(f"shop.{d}", shop.source(shop.stream(d)), shop.stream(d).publication) for d in directions}


@contextmanager
def opened_shop(shop: Shop, *directions: str, ring_keys: int | None = None) -> Iterator[Windows]:
    with opened(shop.legacy, shop.service, shop.mapping, carriers(shop, *directions), 1.0, ring_keys) as windows:
        yield windows


def comparing(shop: Shop, windows: Windows, pool: ThreadPoolExecutor, rounds: int = 20) -> Comparing:
    return Comparing(shop.mapping.tables[0], windows, pool, rounds, lambda *_: None, lambda _: None, 1_000)
