"""First fills that are cut off, held back or refused, and re-snapshots beside a running stream."""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec
import psycopg
import pytest

from cdc.config import Stream
from cdc.errors import ConfigError, NotPrepared, SlotLost, TargetOwns
from cdc.mapping.converters import Converter
from cdc.runner import Runner
from cdc.snapshot import ask, chunks, requests
from cdc.snapshot.requests import Request, Scope
from cdc.throttle import Limits
from tests.integration.cdc.test_ownership import guard, switch
from tests.integration.cdc.test_process import cdc, cli
from tests.integration.cdc.toy import MAPPING, Shop, assert_equal, execute, one, rows, until

BLOCKS_LEFT = "SELECT count(*) FROM banyan.snapshot_blocks b JOIN banyan.snapshot s ON s.id = b.snapshot"
PARKED = "SELECT count(*) FROM banyan.parked"
STATE = "SELECT state FROM banyan.stream"
COPIED = "SELECT rows FROM banyan.snapshot WHERE \"table\" = 'public.item'"
STEP = "SELECT step FROM banyan.snapshot WHERE \"table\" = 'public.item'"
TOAST = "repeat('x', 3000) || n"


def backwards() -> Converter:
    """A converter of an instance, without SQL."""
    return Converter(lambda text: text[::-1], lambda text: text[::-1])


def dsns(shop: Shop, stream: Stream) -> tuple[str, str]:
    return shop.source(stream), shop.target(stream)


def limited(stream: Stream, **limits: Any) -> Stream:
    return msgspec.structs.replace(stream, snapshot_limits=Limits(**limits))


def items(shop: Shop, count: int, note: str = "NULL") -> None:
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(
        shop.legacy,
        f"INSERT INTO item SELECT n, 'c' || n, 'n' || n, n, {note} FROM generate_series(1, %s::int) n",  # noqa: S608
        [count],
    )


def asked(shop: Shop, *tables: str, scope: Scope = requests.WHOLE, **options: Any) -> list[Request]:
    """Ask, wait for the end, and return how it ended."""
    stream = shop.stream("forward")
    ids = [item.id for item in ask.ask(stream, shop.mapping, dsns(shop, stream), tables, scope, **options)]
    return ended(shop, [number for number in ids if number is not None])


def ended(shop: Shop, ids: list[int]) -> list[Request]:
    def done() -> list[Request]:
        for running in shop.running:
            if running.error is not None:
                raise AssertionError("the stream ended") from running.error
        with psycopg.connect(shop.service, autocommit=True) as target:
            found = requests.found(target, "shop.forward", ids)
        return found if all(request.state not in requests.OPEN for request in found) else []

    found: list[Request] = until(done, f"requests {ids} to end", 90)
    return found


@contextmanager
def writers(shop: Shop, count: int = 2) -> Iterator[None]:
    """Whole rows, partial updates (an unchanged note of 3,000 characters), deletes, changes of key, until the end."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def write(number: int) -> None:
        chance = random.Random(number)  # noqa: S311
        try:
            with psycopg.connect(shop.legacy, autocommit=True) as connection:
                for n in itertools.count(1):
                    if stop.wait(0.01):  # a rate that an applier on a busy machine keeps up with
                        return
                    key = chance.randrange(1, 2000) * count + number
                    connection.execute("UPDATE item SET price_cents = price_cents + 1 WHERE id = %s", [key])
                    fresh = 1_000_000 * (number + 1) + n
                    connection.execute("INSERT INTO item VALUES (%s, NULL, 'w', 1, repeat('y', 3000))", [fresh])
                    if n % 5 == 0:
                        connection.execute("DELETE FROM item WHERE id = %s", [fresh - 3])
                        connection.execute("UPDATE item SET note = %s WHERE id = %s", [f"short {n}", key])
                    if n % 7 == 0:
                        connection.execute("UPDATE item SET id = id + 500000 WHERE id = %s AND id < 500000", [key])
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


def equal(shop: Shop) -> None:
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, PARKED) == 0


class TestFill:
    def test_a_fill_that_was_killed_goes_on_where_it_was_while_clients_write(self, shop: Shop) -> None:
        items(shop, 5000, TOAST)
        stream = shop.prepare("forward")
        slow = shop.file(stream, snapshot_limits=Limits(workers=2, rows_per_s=2500, range_blocks=20))
        with cdc(shop, stream, "run", "--stream", str(slow)) as process:
            until(lambda: (one(shop.service, "SELECT count(*) FROM product") or 0) > 1000, "a part of the fill")
            process.send_signal(signal.SIGKILL)
            process.wait()
        slot = "SELECT catalog_xmin::text, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s"
        before = rows(shop.legacy, slot, [stream.slot])
        copied = one(shop.service, "SELECT count(*) FROM product")
        assert 0 < copied < 5000
        assert one(shop.service, STATE) == "snapshot"
        assert before[0][1] == one(shop.service, "SELECT source_lsn FROM banyan.stream")
        # Partial updates of rows that were copied, and of rows that were not; rows that go, come, and change their key.
        execute(shop.legacy, "UPDATE item SET price_cents = 7 WHERE id % 3 = 0")
        execute(shop.legacy, "DELETE FROM item WHERE id % 10 = 1")
        execute(shop.legacy, "UPDATE item SET id = id + 100000 WHERE id % 10 = 2")
        with writers(shop):
            shop.start(limited(stream, chunk_rows=500))
            until(lambda: one(shop.service, STATE) == "streaming" or shop.running[0].error, "the rest of the fill", 60)
        equal(shop)
        read = one(shop.service, """SELECT rows FROM banyan.snapshot WHERE "table" = 'public.item'""")
        assert read < 5000 + copied  # what was copied was not read again
        assert one(shop.service, BLOCKS_LEFT) == 0
        assert one(shop.service, "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%fill%'") == 0

    def test_a_refill_that_was_killed_repairs_what_an_older_fill_had_left(self, shop: Shop) -> None:
        """The target is not empty: a partial update would complete a row of before, so all is read again by key."""
        items(shop, 3000, TOAST)
        shop.streaming().stop()
        execute(
            shop.service,
            "UPDATE product SET note = 'stale'; INSERT INTO product VALUES (77777, 'x', 'x', 1, NULL, 's')",
        )
        stream = shop.stream("forward")
        slow = shop.file(stream, snapshot_limits=Limits(workers=1, rows_per_s=1500, range_blocks=20))
        with cdc(shop, stream, "snapshot", "--stream", str(slow)) as process:
            until(lambda: one(shop.service, "SELECT count(*) FROM product WHERE note <> 'stale'") > 100, "a part")
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert one(shop.service, STATE) == "snapshot"
        execute(shop.legacy, "UPDATE item SET price_cents = 7 WHERE id > 2000")
        shop.start(limited(stream, chunk_rows=500))
        until(lambda: one(shop.service, STATE) == "streaming", "the rest of the fill", 60)
        equal(shop)

    def test_a_table_that_is_rewritten_between_two_windows_is_read_again_as_a_whole(self, shop: Shop) -> None:
        items(shop, 3000, TOAST)
        stream = shop.prepare("forward")
        slow = shop.file(stream, snapshot_limits=Limits(workers=1, rows_per_s=1500, range_blocks=20))
        with cdc(shop, stream, "run", "--stream", str(slow)) as process:
            until(lambda: (one(shop.service, "SELECT count(*) FROM product") or 0) > 500, "a part of the fill")
            process.send_signal(signal.SIGKILL)
            process.wait()
        before = one(shop.service, COPIED)
        shop.start(limited(stream, chunk_rows=50, rows_per_s=400))
        until(lambda: one(shop.service, COPIED) > before, "a window of what is left")
        execute(shop.legacy, "DELETE FROM item WHERE id < 1000")
        execute(shop.legacy, "VACUUM FULL item")  # every row lies somewhere else now
        until(lambda: one(shop.service, STEP) != "blocks", "it to be noticed", 30)
        shop.running.pop().stop()
        shop.start(stream)
        until(lambda: one(shop.service, STATE) == "streaming", "the rest of the fill", 60)
        equal(shop)

    def test_a_row_that_the_target_refuses_is_parked_and_its_range_comes_all_the_same(self, shop: Shop) -> None:
        items(shop, 3000)
        execute(shop.legacy, "UPDATE item SET price_cents = 200000000 WHERE id = 1234")
        execute(shop.legacy, "UPDATE item SET status = '?' WHERE id = 2345")  # no word for it: the mapping refuses
        shop.streaming()
        assert one(shop.service, "SELECT count(*) FROM product") == 2998
        assert rows(shop.service, "SELECT key FROM banyan.parked ORDER BY id") == [([1234],), ([2345],)]

    def test_a_mapping_that_only_python_knows_fills_too(self, shop: Shop) -> None:
        column = "{legacy: note, service: note, convert: 'tests.integration.cdc.test_snapshot:backwards'}"
        shop.mapping_path.write_text(MAPPING.replace("      - note\n", f"      - {column}\n"))
        items(shop, 3000, "'note ' || n")
        execute(shop.legacy, "UPDATE item SET price_cents = 200000000 WHERE id = 1234")
        shop.streaming()
        assert one(shop.service, "SELECT count(*) FROM product WHERE note = reverse('note ' || id)") == 2999
        assert rows(shop.service, "SELECT key FROM banyan.parked") == [([1234],)]

    def test_a_busy_source_holds_the_fill_back_and_status_says_why(self, shop: Shop) -> None:
        items(shop, 100)
        stream = limited(shop.prepare("forward"), active_sessions=1)
        with busy(shop.legacy, 2):
            running = shop.start(stream)
            status = running.runner.status
            waits = until(lambda: (status.document()["snapshot"] or {}).get("waits"), "the fill to wait")
            assert "sessions are active at the source, the limit is 1" in waits
            assert one(shop.service, "SELECT count(*) FROM product") == 0
        until(lambda: status.state == "streaming", "the fill")
        equal(shop)

    def test_a_fill_whose_slot_keeps_too_much_wal_goes_on_beside_the_stream(self, shop: Shop) -> None:
        items(shop, 4000, TOAST)
        stream = limited(shop.prepare("forward"), workers=1, range_blocks=10, rows_per_s=1200, wal_bytes=4_000_000)
        with writers(shop):
            running = shop.start(stream)
            until(lambda: one(shop.service, "SELECT count(*) FROM product"), "the fill to begin")
            execute(shop.legacy, "SELECT pg_logical_emit_message(true, 'other', repeat('x', 5000000))")
            until(lambda: running.runner.status.applied or running.error, "the slot to be read", 60)
            assert one(shop.service, STATE) == "snapshot"  # streams, but is not filled
            assert running.runner.status.watermark() is None
            assert not running.runner.status.ready()

        def filled() -> bool:
            execute(shop.legacy, "SELECT pg_log_standby_snapshot()")  # as the server does by itself every 15 s
            return one(shop.service, STATE) == "streaming" or running.error is not None

        until(filled, "the rest of the fill", 60)
        equal(shop)


@contextmanager
def busy(dsn: str, sessions: int) -> Iterator[None]:
    """So many sessions that are active all the time."""

    def sleep(connection: psycopg.Connection[Any]) -> None:
        with suppress(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")

    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    with ExitStack() as stack:
        found = [stack.enter_context(psycopg.connect(dsn, autocommit=True)) for _ in range(sessions)]
        threads = [threading.Thread(target=sleep, args=(connection,)) for connection in found]
        for thread in threads:
            thread.start()
        try:
            until(lambda: one(dsn, sleeping) == sessions, "the sessions to be active")
            yield
        finally:
            for connection in found:
                connection.cancel_safe()
            for thread in threads:
                thread.join()


class TestResnapshot:
    def test_it_repairs_planted_damage_under_load_and_loses_no_write(self, shop: Shop) -> None:
        items(shop, 4000, TOAST)
        execute(shop.legacy, "INSERT INTO kind SELECT n, 'k' FROM generate_series(1, 100) n")
        stream = shop.prepare("forward")
        shop.start(limited(stream, chunk_rows=400))
        until(lambda: one(shop.service, STATE) == "streaming", "the first fill")
        with writers(shop):
            execute(shop.service, "DELETE FROM product WHERE id % 97 = 3")
            execute(shop.service, "UPDATE product SET note = 'damaged' WHERE id % 89 = 5")
            execute(shop.service, "UPDATE product SET price = 0 WHERE id % 83 = 7")
            execute(
                shop.service,
                "INSERT INTO product SELECT 300000 + n, NULL, 's', 1, NULL, 'active' FROM generate_series(1, 50) n",
            )
            execute(shop.service, "DELETE FROM product_kind WHERE id < 50")
            found = asked(shop)
        assert {(r.table, r.state) for r in found} == {
            ("public.item", "done"), ("public.kind", "done"), ("public.everything", "done"),
        }  # fmt: skip
        equal(shop)
        assert one(shop.service, "SELECT count(*) FROM product_kind") == 100
        assert next(r for r in found if r.table == "public.item").removed >= 50

    @pytest.mark.parametrize(
        ("scope", "healed"),
        [
            (Scope(first=("100",), last=("199",)), range(100, 200)),
            (Scope(first=("2900",)), range(2900, 3001)),
            (Scope(keys=(("5",), ("7",), ("4444",))), [5, 7]),
        ],
    )
    def test_a_range_or_keys_are_read_again_and_nothing_else(self, shop: Shop, scope: Scope, healed: Any) -> None:
        items(shop, 3000)
        shop.streaming()
        execute(shop.service, "UPDATE product SET price = 0")
        execute(
            shop.service,
            "INSERT INTO product VALUES (4444, NULL, 's', 0, NULL, 'active'), (5555, NULL, 's', 0, NULL, 'active')",
        )
        execute(shop.service, "DELETE FROM product WHERE id IN (5, 150, 2950)")
        [done] = asked(shop, "public.item", scope=scope)
        assert (done.state, done.problem) == ("done", None)
        good = {number for (number,) in rows(shop.service, "SELECT id FROM product WHERE price > 0")}
        assert good == set(healed)
        left = {number for (number,) in rows(shop.service, "SELECT id FROM product WHERE id > 3000")}
        assert left == {4444, 5555} - ({4444} if scope.keys else {4444, 5555} if scope.last is None else set())

    def test_it_frees_parked_keys_whose_row_is_good_by_now(self, shop: Shop) -> None:
        items(shop, 10)
        shop.streaming()
        execute(shop.legacy, "UPDATE item SET price_cents = 200000000 WHERE id IN (3, 4)")
        shop.caught_up()
        execute(shop.legacy, "UPDATE item SET price_cents = 5 WHERE id = 3")
        shop.caught_up()
        assert one(shop.service, PARKED) == 3
        asked(shop, "public.item")
        assert rows(shop.service, "SELECT key FROM banyan.parked") == [([4],)]
        assert one(shop.service, "SELECT price FROM product WHERE id = 3") * 100 == 5

    def test_it_goes_on_after_kill_9(self, shop: Shop) -> None:
        items(shop, 4000)
        stream = shop.prepare("forward")
        path = shop.file(stream, snapshot_limits=Limits(chunk_rows=100))
        with cdc(shop, stream, "run", "--stream", str(path)) as process:
            until(lambda: one(shop.service, STATE) == "streaming", "the first fill")
            execute(shop.service, "UPDATE product SET price = 0")
            ask.ask(stream, shop.mapping, dsns(shop, stream), ["public.item"], rows_per_s=2000)
            until(
                lambda: (one(shop.service, "SELECT max(rows) FROM banyan.snapshot WHERE NOT fills") or 0) > 500,
                "a part",
            )
            process.send_signal(signal.SIGKILL)
            process.wait()
        shop.start(stream)
        ended(shop, [n for (n,) in rows(shop.service, "SELECT id FROM banyan.snapshot WHERE NOT fills")])
        assert one(shop.service, "SELECT rows FROM banyan.snapshot WHERE NOT fills") == 4000  # none was read twice
        equal(shop)

    def test_it_waits_for_a_busy_source_keeps_to_its_rate_and_can_be_cancelled(self, shop: Shop) -> None:
        items(shop, 3000)
        stream = shop.prepare("forward")
        shop.start(limited(stream, chunk_rows=50, active_sessions=1))
        until(lambda: one(shop.service, STATE) == "streaming", "the first fill")
        execute(shop.service, "UPDATE product SET price = 0")
        with busy(shop.legacy, 2):
            [item] = ask.ask(stream, shop.mapping, dsns(shop, stream), ["public.item"], rows_per_s=500)
            until(lambda: one(shop.service, "SELECT waits FROM banyan.snapshot WHERE id = %s", [item.id]), "it to wait")
            assert one(shop.service, "SELECT rows FROM banyan.snapshot WHERE id = %s", [item.id]) <= 50
        until(
            lambda: one(shop.service, "SELECT rows FROM banyan.snapshot WHERE id = %s", [item.id]) > 200, "it to go on"
        )
        assert ask.cancel(stream, shop.service) == 1
        spent, read = rows(
            shop.service,
            "SELECT extract(epoch FROM ended_at - began_at), rows FROM banyan.snapshot WHERE id = %s",
            [item.id],
        )[0]
        assert read <= 500 * (float(spent) + 1) + 50
        shop.caught_up()
        assert 0 < one(shop.service, "SELECT count(*) FROM product WHERE price = 0") < 3000
        [again] = asked(shop, "public.item")
        assert again.state == "done"
        equal(shop)

    def test_a_wave_that_is_the_targets_is_not_read_again(self, shop: Shop) -> None:
        items(shop, 100)
        guard(shop)
        shop.streaming()
        stream = shop.stream("forward")
        # One that was asked for before the switch stops at it; one that is asked for after it is refused at once.
        with psycopg.connect(shop.legacy) as holder:
            holder.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            [item] = ask_without_look(shop)
            waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
            until(lambda: one(shop.legacy, waits, ["banyan-cdc shop.forward snapshot"]), "it to be taken up")
            execute(shop.service, "UPDATE banyan.ownership SET owner = 'service', epoch = 2")
            execute(shop.service, "UPDATE product SET name = 'accepted' WHERE id = 7")
        [done] = ended(shop, [item])
        assert done.state == "failed"
        assert "owned by service" in (done.problem or "")
        with pytest.raises(TargetOwns, match="owned by service"):
            ask.ask(stream, shop.mapping, dsns(shop, stream), ["public.item"])
        assert one(shop.service, "SELECT name FROM product WHERE id = 7") == "accepted"
        [reference] = asked(shop, "public.kind")
        assert reference.state == "done"

    @pytest.mark.parametrize(
        ("tables", "scope", "message"),
        [
            (["public.nothing"], (None, None, None), "has no source table public.nothing: it has public.item"),
            ([], (None, None, "5"), "of one table: name it with --table"),
            (["public.item"], ("5", None, "5"), "give one of the two"),
            (["public.item"], ("9", "5", None), "comes after --to"),
            (["public.item"], ("abc", None, None), "invalid input syntax for type bigint"),
            (["public.item"], (None, '["a", 5]', None), "it has 1 columns, id bigint"),
            (["public.item"], (None, None, "[5"), "no JSON list"),
            (["public.item"], (None, None, "[[true]]"), "no key"),
            (["public.item"], (None, None, ","), "takes 1 to 10000 keys"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_asked_for(
        self, shop: Shop, tables: list[str], scope: tuple[Any, Any, Any], message: str
    ) -> None:
        stream = shop.prepare("forward")
        execute(shop.service, "UPDATE banyan.stream SET state = 'streaming', source_lsn = '0/1'")
        with pytest.raises(ConfigError) as refused:
            ask.ask(stream, shop.mapping, dsns(shop, stream), tables, ask.scope_of(*scope))
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
        assert one(shop.service, "SELECT count(*) FROM banyan.snapshot") == 0

    def test_it_is_refused_before_the_first_fill_and_twice_for_a_table(self, shop: Shop) -> None:
        stream = shop.prepare("forward")
        with pytest.raises(NotPrepared, match="has not been filled yet"):
            ask.ask(stream, shop.mapping, dsns(shop, stream), [])
        execute(shop.service, "UPDATE banyan.stream SET state = 'streaming', source_lsn = '0/1'")
        assert [item.id for item in ask.ask(stream, shop.mapping, dsns(shop, stream), [], dry_run=True)] == [None] * 3
        ask.ask(stream, shop.mapping, dsns(shop, stream), ["item"])
        with pytest.raises(ConfigError, match="is being read again already"):
            ask.ask(stream, shop.mapping, dsns(shop, stream), ["item"])

    def test_the_command_says_what_it_would_read_reads_it_and_tells_how_it_went(self, shop: Shop) -> None:
        items(shop, 1000)
        shop.streaming()
        stream = shop.stream("forward")
        again = ["resnapshot", "--stream", str(shop.file(stream))]
        looked = cli(shop, stream, *again, "--table", "item", "--from", "1", "--to", "9", "--dry-run")
        assert looked.stdout.endswith("rows into public.product\n")
        execute(shop.service, "UPDATE product SET price = 0")
        done = json.loads(cli(shop, stream, *again, "--table", "item", "--keys", "5,7", "--json").stdout)
        assert [(each["state"], each["rows"]) for each in done["done"]] == [("done", 2)]
        said = cli(shop, stream, *again)
        assert "public.item: done, 1,000 rows" in said.stdout
        equal(shop)
        wrong = cli(shop, stream, *again, "--keys", "5")
        assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
        assert "name it with --table" in wrong.stderr
        assert cli(shop, stream, *again, "--cancel").stdout == "0 requests ended\n"


def ask_without_look(shop: Shop) -> list[int]:
    with psycopg.connect(shop.service, autocommit=True) as target:
        return [requests.add(target, "shop.forward", "public.item")]


def test_keys_of_types_with_a_length_are_found_whole(shop: Shop) -> None:
    execute(shop.legacy, "CREATE TABLE odd (a char(4), b bit(3), c numeric(6, 2), PRIMARY KEY (a, b, c))")
    execute(shop.legacy, "INSERT INTO odd VALUES ('abc', '101', 12.5), ('ab', '111', 1), ('a', '100', 1)")
    with psycopg.connect(shop.legacy) as source:
        keys = chunks.keys_of(source, "public.odd", ["a", "b", "c"])
        wanted = [("abc", "101", "12.50"), ("ab", "111", "1"), ("xyz", "111", "1")]
        there = source.execute(keys.rows_at(wanted, ["a"])).fetchall()
        assert [row[0].strip() for row in there] == ["abc", "ab"]
        assert source.execute(keys.absent(wanted)).fetchall() == [("xyz", "111", 1)]


class TestRefill:
    def test_a_lost_slot_is_made_anew_and_everything_read_again_while_clients_write(self, shop: Shop) -> None:
        items(shop, 3000, TOAST)
        running = shop.streaming()
        running.stop()
        stream = shop.stream("forward")
        execute(shop.legacy, "SELECT pg_drop_replication_slot(%s)", [stream.slot])
        with writers(shop):
            until(lambda: one(shop.legacy, "SELECT count(*) FROM item") > 3050, "writes that nobody captures")
            assert isinstance(shop.start(stream).failure(), SlotLost)
            shop.running.clear()
            runner = Runner(stream, shop.mapping, *dsns(shop, stream))
            with runner.alone() as target:
                runner.refill(target)
            again = shop.start(limited(stream, chunk_rows=300))
            until(lambda: again.runner.status.applied or again.error, "streaming from the new slot")
            assert one(shop.service, STATE) == "snapshot"
            until(lambda: one(shop.service, STATE) == "streaming" or again.error, "everything to be read again", 60)
        equal(shop)

    def test_it_is_refused_where_the_target_owns_a_wave(self, shop: Shop) -> None:
        items(shop, 10)
        guard(shop)
        shop.streaming()
        switch(shop)
        shop.running[0].stop()
        stream = shop.stream("forward")
        runner = Runner(stream, shop.mapping, *dsns(shop, stream))
        with runner.alone() as target, pytest.raises(TargetOwns, match="roll back first"):
            runner.refill(target)
        assert one(shop.service, STATE) == "streaming"
