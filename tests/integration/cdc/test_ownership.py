"""A fill or a replay never overwrites what the target, as the owner of a wave, has accepted itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5

import psycopg
import pytest

from cdc import parking, streams
from cdc.apply.owned import require_source_owns
from cdc.errors import NotPrepared, SlotLost, TargetOwns
from cdc.guard.install import install
from cdc.guard.ownership import fence, set_owner
from cdc.guard.waves import WHOLE, Wave
from cdc.runner import Runner
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows, until

SLOTS = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s"


def guard(shop: Shop, waves: tuple[Wave, ...] = WHOLE) -> None:
    for dsn, side in ((shop.legacy, "legacy"), (shop.service, "service")):
        with psycopg.connect(dsn, autocommit=True) as connection:
            install(connection, shop.mapping, side, waves)


def switch(shop: Shop, wave: int = 0) -> None:
    """The wave goes from the monolith to the service, as design §5 has it."""
    with (
        psycopg.connect(shop.legacy, autocommit=True) as legacy,
        psycopg.connect(shop.service, autocommit=True) as service,
    ):
        epoch = fence(legacy, "shop", wave, 1, 900).epoch
        arrived = "SELECT 1 FROM banyan.fence_applied WHERE wave = %s AND epoch = %s"
        until(lambda: one(shop.service, arrived, [wave, epoch]), "the fence's marker")
        set_owner(service, "shop", wave, "service", 1, epoch)
        set_owner(legacy, "shop", wave, "service", epoch, epoch)


@pytest.fixture
def switched(shop: Shop) -> Shop:
    """The service owns the domain, has accepted two writes, and the forward stream has ended."""
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 100 FROM generate_series(1, 50) n")
    guard(shop)
    forward = shop.streaming("forward")
    shop.prepare("reverse")
    shop.caught_up()
    switch(shop)
    forward.stop()
    execute(shop.service, "INSERT INTO product VALUES (1000, 'new', 'accepted', 1, NULL, 'active')")
    execute(shop.service, "UPDATE product SET name = 'changed' WHERE id = 7")
    return shop


ACCEPTED = "SELECT id, name FROM product WHERE id IN (7, 1000) ORDER BY id"


class TestFill:
    def test_a_stream_prepared_anew_after_a_switch_leaves_the_owners_rows_alone(self, switched: Shop) -> None:
        stream = switched.stream("forward")
        execute(switched.legacy, "SELECT pg_drop_replication_slot(%s)", [stream.slot])
        lost = switched.start(stream).failure()
        assert isinstance(lost, SlotLost)
        assert "recover" in str(lost)
        switched.running.clear()
        streams.drop(stream, switched.legacy, switched.service)
        streams.prepare(stream, switched.legacy, switched.service)
        refused = switched.start(stream).failure()
        assert isinstance(refused, TargetOwns)
        assert "shop is owned by service (epoch 2)" in str(refused)
        assert "roll back first" in str(refused)
        assert "\n" not in str(refused)
        assert rows(switched.service, ACCEPTED) == [(7, "changed"), (1000, "accepted")]

    def test_a_fill_asked_for_by_hand_does_not_even_drop_the_slot(self, switched: Shop) -> None:
        stream = switched.stream("forward")
        runner = Runner(stream, switched.mapping, switched.legacy, switched.service)
        with pytest.raises(TargetOwns, match="roll back first"):
            runner.snapshot(threading.Event())
        assert one(switched.legacy, SLOTS, [stream.slot]) == 1
        assert one(switched.service, "SELECT state FROM banyan.stream WHERE stream = %s", [stream.name]) == "streaming"
        assert rows(switched.service, ACCEPTED) == [(7, "changed"), (1000, "accepted")]

    def test_one_wave_of_the_service_is_enough_to_refuse(self, shop: Shop) -> None:
        guard(shop, (Wave(0, 0, 512), Wave(1, 512, 1024)))
        shop.streaming("forward")
        switch(shop, 1)
        shop.running[0].stop()
        runner = Runner(shop.stream("forward"), shop.mapping, shop.legacy, shop.service)
        with pytest.raises(TargetOwns):
            runner.snapshot(threading.Event())

    def test_a_fill_of_what_the_monolith_owns_goes_on(self, shop: Shop) -> None:
        execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 100 FROM generate_series(1, 50) n")
        guard(shop)
        shop.streaming("forward").stop()
        Runner(shop.stream("forward"), shop.mapping, shop.legacy, shop.service).snapshot(threading.Event())
        assert_equal(shop)

    def test_a_change_of_owner_waits_for_the_fills_transaction_and_stops_the_next(self, shop: Shop) -> None:
        guard(shop)
        with (
            psycopg.connect(shop.service) as filling,
            psycopg.connect(shop.service, autocommit=True) as control,
            ThreadPoolExecutor(1) as pool,
        ):
            require_source_owns(filling, "shop", "forward")
            crossing = pool.submit(
                control.execute, "UPDATE banyan.ownership SET owner = 'service', epoch = 2 WHERE domain = 'shop'"
            )
            waits = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
            until(lambda: one(shop.service, waits, [control.info.backend_pid]), "the change of owner to wait")
            filling.commit()
            crossing.result(10)
            with pytest.raises(TargetOwns):
                require_source_owns(filling, "shop", "forward")

    def test_a_guard_that_lacks_the_question_is_refused_and_not_passed_over(self, shop: Shop) -> None:
        guard(shop)
        execute(shop.service, "DROP FUNCTION banyan.assert_owned")
        with psycopg.connect(shop.service) as target, pytest.raises(NotPrepared, match="banyan prepare shop"):
            require_source_owns(target, "shop", "forward")


@pytest.fixture
def parked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Two waves, and in each an item whose newest price the service refuses: its old values are there."""
    monkeypatch.setenv("TARGET_DSN", shop.service)
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 100 FROM generate_series(1, 50) n")
    guard(shop, (Wave(0, 0, 512), Wave(1, 512, 1024)))
    shop.streaming("forward")
    shop.streaming("reverse")
    for wave in (0, 1):
        execute(shop.legacy, "UPDATE item SET name = 'old', price_cents = 200000000 WHERE id = %s", [item_of(wave)])
    shop.caught_up()
    execute(shop.service, "ALTER TABLE product DROP CONSTRAINT product_price_check")
    return shop


def item_of(wave: int) -> int:
    """An item in the lower (0) or upper (1) half of the buckets."""
    return next(n for n in range(1, 51) if bucket_of(str(n)) // 512 == wave)


def bucket_of(key: str) -> int:
    return int.from_bytes(md5(key.encode()).digest()[:4]) % 1024  # noqa: S324  the guard's hash


NAME = "SELECT name FROM product WHERE id = %s"


class TestReplay:
    def test_a_key_of_the_targets_wave_stays_parked_and_the_others_are_freed(self, parked: Shop) -> None:
        switch(parked, 1)
        execute(parked.service, "UPDATE product SET name = 'accepted' WHERE id = %s", [item_of(1)])
        parked.caught_up("reverse")
        with pytest.raises(TargetOwns, match="parked discard") as refused:
            parking.replay(parked.stream("forward"), parked.mapping)
        assert f"public.item [{item_of(1)}]" in str(refused.value)
        assert "owned by service" in str(refused.value)
        assert "(1 keys free, 0 still parked besides)" in str(refused.value)
        assert one(parked.service, NAME, [item_of(1)]) == "accepted"
        assert one(parked.service, NAME, [item_of(0)]) == "old"
        assert [key.key for key in parking.listed(parked.stream("forward"))] == [f"[{item_of(1)}]"]
        assert parking.discard(parked.stream("forward"), "public.item", f"[{item_of(1)}]") == 1

    def test_before_the_switch_the_keys_are_the_sources_and_are_freed(self, parked: Shop) -> None:
        assert parking.replay(parked.stream("forward"), parked.mapping) == (2, 0)
        assert one(parked.service, NAME, [item_of(1)]) == "old"

    def test_a_delete_that_does_not_tell_its_wave_needs_all_of_them(self, parked: Shop) -> None:
        """`bucket_key` is in no row of the change: a wave of the target could be its own."""
        switch(parked, 1)
        key = f"[{item_of(0)}]"
        execute(
            parked.service, "UPDATE banyan.parked SET change = change #- '{payload,after,id}' WHERE key = %s", [key]
        )
        with pytest.raises(TargetOwns):
            parking.replay(parked.stream("forward"), parked.mapping, "public.item", key)
