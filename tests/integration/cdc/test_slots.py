"""Slot safety: each way in which a slot loses changes without a word is met, told, and made good by one command."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from banyan.servers import Postgres
from banyan.servers.postgres import find_binaries
from banyan.servers.privileges import hand_over, unprivileged
from cdc import judging, streams
from cdc.beacon import Heartbeat
from cdc.capture import slot as slots
from cdc.capture.replication import ReplicationStream
from cdc.capture.replication import connect as connect_replication
from cdc.change import HEARTBEAT, lsn_number
from cdc.emit import EMIT_FLUSHED
from cdc.errors import SlotAhead, SlotLost
from cdc.recover import recover
from cdc.runner import Runner
from tests.fixtures.servers import create_database
from tests.integration.cdc.toy import LEGACY, Running, Shop, assert_equal, execute, one, until

OWNERSHIP = (
    "CREATE TABLE banyan.ownership"
    " (domain text, wave int, bucket_from int, bucket_to int, owner text, epoch bigint, PRIMARY KEY (domain, wave))"
)


@pytest.fixture(scope="module")
def unbounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A monolith's server as it often is: no bound for what a slot keeps, small segments of WAL."""
    folder = tmp_path_factory.mktemp("pg-unbounded")
    settings = {"fsync": "off", "max_slot_wal_keep_size": "", "min_wal_size": "32MB", "max_wal_size": "64MB"}
    server = Postgres(data=folder / "data", log=folder / "log", settings=settings).start()
    yield server
    server.stop()


@pytest.fixture
def monolith(unbounded: Postgres, shop: Shop) -> Shop:
    """The shop, whose legacy side is there."""
    shop.legacy = create_database(unbounded)
    execute(shop.legacy, LEGACY)
    return shop


def slot(shop: Shop, direction: str = "forward") -> slots.Slot:
    stream = shop.stream(direction)
    with psycopg.connect(shop.source(stream)) as connection:
        found = slots.find(connection, stream.slot)
    assert found is not None
    return found


def runner(shop: Shop, direction: str = "forward") -> Runner:
    stream = shop.stream(direction)
    return Runner(stream, shop.mapping, shop.source(stream), shop.target(stream))


def write_segments(dsn: str, count: int) -> None:
    """Much WAL from little data, as a busy neighbour makes it."""
    for _ in range(count):
        execute(dsn, "SELECT pg_logical_emit_message(true, 'noise', 'x')")
        execute(dsn, "SELECT pg_switch_wal()")


def test_prepare_bounds_the_wal_that_a_slot_may_keep_at_a_monolith_that_did_not(monolith: Shop) -> None:
    execute(monolith.legacy, "ALTER SYSTEM RESET max_slot_wal_keep_size; ")
    execute(monolith.legacy, "SELECT pg_reload_conf()")
    until(lambda: one(monolith.legacy, "SHOW max_slot_wal_keep_size") == "-1", "no bound")
    monolith.prepare("forward")
    assert one(monolith.legacy, "SHOW max_slot_wal_keep_size") == "4GB"
    execute(monolith.legacy, "ALTER SYSTEM SET max_slot_wal_keep_size = '3GB'")
    execute(monolith.legacy, "SELECT pg_reload_conf()")
    until(lambda: one(monolith.legacy, "SHOW max_slot_wal_keep_size") == "3GB", "a bound of their own")
    monolith.prepared.clear()
    monolith.prepare("forward")
    assert one(monolith.legacy, "SHOW max_slot_wal_keep_size") == "3GB"


def test_a_lost_slot_fails_fast_with_what_to_do_and_one_command_brings_everything_back(monolith: Shop) -> None:
    execute(monolith.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1 FROM generate_series(1, 50) n")
    monolith.streaming().stop()
    monolith.running.clear()
    execute(monolith.legacy, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    execute(monolith.legacy, "SELECT pg_reload_conf()")
    execute(monolith.legacy, "DELETE FROM item WHERE id = 1; INSERT INTO item VALUES (99, 'lost', 'with the slot', 1)")
    write_segments(monolith.legacy, 4)
    execute(monolith.legacy, "CHECKPOINT")
    assert slot(monolith).wal_status == "lost"
    failure = monolith.start(monolith.stream("forward")).failure()
    assert isinstance(failure, SlotLost)
    assert "is invalidated (wal_removed)" in str(failure)
    assert "`banyan stream recover DOMAIN`" in str(failure)
    monolith.running.clear()
    execute(monolith.legacy, "ALTER SYSTEM SET max_slot_wal_keep_size = '4GB'")
    execute(monolith.legacy, "SELECT pg_reload_conf()")

    done = recover(runner(monolith), monolith.legacy, "ann", "the disk was full")
    assert done.way == "refill"
    assert done.why is not None
    assert "invalidated" in done.why
    monolith.start(monolith.stream("forward"))
    until(lambda: one(monolith.service, "SELECT state FROM banyan.stream") == "streaming", "all to be read again")
    execute(monolith.legacy, "INSERT INTO item VALUES (100, 'next', 'n', 1)")
    monolith.caught_up()
    assert_equal(monolith)
    assert recover(runner(monolith), monolith.legacy, "ann", "again").why is None


def test_a_slot_advanced_between_the_look_and_the_start_is_still_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.streaming().stop()
    shop.running.clear()
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'would be lost', 1)")
    racing = Running(runner(shop))
    look = judging.judge_slot

    def then_somebody_advances(*asked: Any) -> None:
        look(*asked)
        monkeypatch.undo()
        execute(
            shop.legacy, "SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", [shop.stream("forward").slot]
        )

    monkeypatch.setattr(judging, "judge_slot", then_somebody_advances)
    shop.running.append(racing.start())
    failure = racing.failure()
    assert isinstance(failure, SlotAhead)
    assert one(shop.service, "SELECT count(*) FROM product") == 0


def test_two_consumers_on_one_slot_are_told_and_what_the_other_took_is_not_skipped(shop: Shop) -> None:
    shop.streaming().stop()
    shop.running.clear()
    stream = shop.stream("forward")
    other = connect_replication(shop.legacy, "somebody-else")
    try:
        position = lsn_number(one(shop.legacy, "SELECT pg_current_wal_lsn()::text"))
        thief = ReplicationStream(other, stream.slot, [stream.publication], position)
        execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'taken by the other', 1)")
        running = shop.start(stream)
        until(
            lambda: "read by another program, somebody-else" in running.runner.status.problem, "the other to be named"
        )
        assert running.error is None  # it may leave without having taken anything
        thief.confirm(lsn_number(one(shop.legacy, "SELECT pg_current_wal_lsn()::text")))
        until(lambda: slot(shop).confirmed_lsn > position, "the other to take it")
    finally:
        other.close()
    assert isinstance(running.failure(), SlotAhead)
    done = recover(runner(shop), shop.legacy, "ann", "somebody read our slot")
    assert (done.way, done.rows) == ("refill", 0)
    assert one(shop.service, "SELECT count(*) FROM banyan.snapshot WHERE fills AND state <> 'done'") == 3


def test_a_lost_reverse_slot_of_a_service_that_owns_nothing_is_made_again(shop: Shop) -> None:
    stream = shop.prepare("reverse")
    execute(shop.service, "SELECT pg_drop_replication_slot(%s)", [stream.slot])
    assert isinstance(shop.start(stream).failure(), SlotLost)
    shop.running.clear()
    execute(shop.legacy, OWNERSHIP)
    execute(shop.legacy, "INSERT INTO banyan.ownership VALUES ('shop', 0, 0, 1024, 'legacy', 1)")
    execute(shop.legacy, "INSERT INTO banyan.ownership VALUES ('other', 0, 0, 1024, 'moving', 2)")
    done = recover(runner(shop, "reverse"), shop.service, "ann", "dropped by mistake")
    assert done.way == "remake"
    execute(shop.legacy, "UPDATE banyan.ownership SET owner = 'service', epoch = 2 WHERE domain = 'shop'")
    shop.start(stream)
    execute(shop.service, "INSERT INTO product VALUES (1, 'a', 'n', 1, NULL, 'active')")
    shop.caught_up("reverse")
    assert one(shop.legacy, "SELECT count(*) FROM item") == 1


def test_an_idle_database_beside_a_busy_one_does_not_make_the_wal_grow(monolith: Shop, unbounded: Postgres) -> None:
    busy = create_database(unbounded)
    running = monolith.streaming()
    write_segments(busy, 4)
    assert slot(monolith).retained > 40_000_000  # nothing comes for us, so nothing is confirmed
    stop = threading.Event()
    status = running.runner.status
    heartbeat = Heartbeat(monolith.legacy, monolith.stream("forward").slot, status, stop)
    heartbeat.start()
    try:

        def let_go() -> bool:
            execute(busy, "SELECT pg_log_standby_snapshot()")  # as the server does itself, every 15 s
            return slot(monolith).retained < 17_000_000

        until(let_go, "the slot to let go of the WAL")
        until(lambda: status.slot is not None and status.slot.retained < 17_000_000, "the status to tell it")
    finally:
        stop.set()
        heartbeat.join()


def test_wal_that_an_open_transaction_keeps_is_not_blamed_on_the_stream(monolith: Shop, unbounded: Postgres) -> None:
    running = monolith.streaming()
    status = running.runner.status
    with psycopg.connect(monolith.legacy) as holder:
        holder.execute("INSERT INTO kind VALUES (1, 'open all the time')")
        write_segments(create_database(unbounded), 4)

        def confirmed() -> bool:  # what airbyte#27647 saw: confirmed moves, restart_lsn stays
            execute(monolith.legacy, EMIT_FLUSHED, [HEARTBEAT])
            execute(monolith.legacy, "SELECT pg_log_standby_snapshot()")
            return slot(monolith).unconfirmed < 1_000_000

        until(confirmed, "the stream to confirm")
        found = slot(monolith)
        assert found.retained > 40_000_000
        status.slot_name, status.slot_known = "s", True
        status.slot = replace(found, room=1_000_000)
        [alarm] = status.alarms()
        assert "an open transaction at the source keeps it" in alarm.words


@pytest.mark.parametrize("wanted", [True, False])
def test_a_slot_follows_a_failover_where_the_server_can_and_the_stream_wants_it(shop: Shop, wanted: bool) -> None:
    can = int(one(shop.legacy, "SHOW server_version_num")) >= 170000
    stream = msgspec.structs.replace(shop.stream("reverse"), failover=wanted)
    shop.prepared.append(stream)
    streams.prepare(stream, shop.service, shop.legacy)
    assert slot(shop, "reverse").failover == (wanted and can)
    streams.prepare(msgspec.structs.replace(stream, failover=not wanted), shop.service, shop.legacy)
    assert slot(shop, "reverse").failover == (not wanted and can)


def test_a_standby_that_takes_over_goes_on_where_the_primary_was_killed(shop: Shop, tmp_path: Path) -> None:
    primary = Postgres(data=tmp_path / "primary", log=tmp_path / "primary.log", settings={"fsync": "off"}).start()
    if int(one(primary.dsn(), "SHOW server_version_num")) < 170000:
        primary.stop()
        pytest.skip("failover slots need PostgreSQL 17")
    standby = _standby(primary, tmp_path)
    try:
        shop.legacy = create_database(primary)
        execute(shop.legacy, LEGACY)
        execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1 FROM generate_series(1, 50) n")
        shop.streaming()
        execute(shop.legacy, "INSERT INTO item VALUES (60, 'x', 'applied before', 1)")
        shop.caught_up()
        there = shop.legacy.replace(f":{primary.port}/", f":{standby.port}/")

        def synced() -> bool:
            execute(shop.legacy, EMIT_FLUSHED, [HEARTBEAT])
            execute(shop.legacy, "SELECT pg_log_standby_snapshot()")
            execute(there, "SELECT pg_sync_replication_slots()")
            return bool(
                one(
                    there,
                    "SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = %s",
                    [shop.stream("forward").slot],
                )
            )

        until(synced, "the standby to have the slot")
        execute(shop.legacy, "INSERT INTO item VALUES (61, 'y', 'on its way', 1)")
        flushed = one(shop.legacy, "SELECT pg_current_wal_flush_lsn()::text")
        until(lambda: one(there, "SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", [flushed]), "the standby to have it")
        shop.running.pop().stop()
        kill_9(primary)
        execute(there, "SELECT pg_promote()")
        shop.legacy = there
        shop.start(shop.stream("forward"))
        until(lambda: one(there, "SELECT NOT pg_is_in_recovery()"), "the promotion")
        execute(there, "INSERT INTO item VALUES (62, 'z', 'after', 1)")
        shop.caught_up()
        assert_equal(shop)
        assert one(shop.service, "SELECT source_timeline FROM banyan.stream") == 2
        shop.close()
    finally:
        shop.running.clear()
        shop.prepared.clear()
        for server in (standby, primary):
            server.stop()


def _standby(primary: Postgres, folder: Path) -> Postgres:
    execute(primary.dsn(), "SELECT pg_create_physical_replication_slot('standby', true)")
    data = folder / "standby"
    data.mkdir()
    hand_over(data)
    command = [
        str(find_binaries() / "pg_basebackup"),
        "-D",
        str(data),
        "-d",
        primary.dsn(),
        "-X",
        "stream",
        "-c",
        "fast",
    ]
    subprocess.run(unprivileged(command), check=True, timeout=60, env={**os.environ, "PGPASSWORD": primary.password})
    data.chmod(0o700)
    hand_over(data)
    (data / "standby.signal").touch()
    settings = {
        "fsync": "off",
        "primary_conninfo": primary.dsn(),
        "primary_slot_name": "standby",
        "hot_standby_feedback": "on",
    }
    return Postgres(data=data, log=folder / "standby.log", password=primary.password, settings=settings).start()


def kill_9(server: Postgres) -> None:
    """The postmaster and all that it started; none gets to say goodbye."""
    pid = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        os.kill(each, signal.SIGKILL)
    assert server.process is not None
    server.process.wait(10)
