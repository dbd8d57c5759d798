"""First fills that are cut off, held back or refused, and all that is read again after a lost slot."""

from __future__ import annotations

import signal

import pytest

from cdc.errors import SlotLost, TargetOwns
from cdc.mapping.converters import Converter
from cdc.runner import Runner
from cdc.throttle import Limits
from tests.integration.cdc.snapshots import (
    BLOCKS_LEFT,
    COPIED,
    STATE,
    STEP,
    TOAST,
    busy,
    dsns,
    equal,
    items,
    limited,
    writers,
)
from tests.integration.cdc.test_ownership import guard, switch
from tests.integration.cdc.test_process import cdc
from tests.integration.cdc.toy import MAPPING, Shop, execute, one, rows, until


def backwards() -> Converter:
    """A converter of an instance, without SQL."""
    return Converter(lambda text: text[::-1], lambda text: text[::-1])


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
        column = "{legacy: note, service: note, convert: 'tests.integration.cdc.test_fill:backwards'}"
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
